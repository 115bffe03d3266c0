"""What can be measured: each experiment is a plan (frozen, validated), a run, and a result; none of them prints.

plan      what is asked, checked once, at construction
crew      the processes of a run, seen from the process that asked for it
leader    the process that owns a run's namespace, queues and workers
worker    what a producer and a consumer do between their slices
load      `harness load`: rate, latency and the ledger of one workload
ceiling   `harness ceiling`: what the measuring itself costs
doctor    `harness doctor`: what this machine can do
"""
