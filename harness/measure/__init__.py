"""What a run's figures are made of: quantities, histograms, robust statistics, pacing, the ledger, disturbance.

Used by the engines, the experiments, the results and the displays. Imports nothing of the project outside this
folder, knows no queue, and is testable without a kernel that has any. Import from its modules:

    quantities    what a person writes ("500k", "10s", "8KiB") to numbers with units, and back
    histogram     latencies in log-linear buckets of fixed size
    statistics    medians, spreads, slopes
    pacing        when each message is due
    ledger        what became of each message
    observe       what the kernel says of CPUs, processes and the clock
    throttling    what the cgroup's CPU limit did to us
    jitter        what the machine does to a process that only wants to run
    disturbance   was the machine quiet meanwhile: the verdict of these three
"""
