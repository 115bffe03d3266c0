"""Two ways to load a queue, behind one Protocol: `python` (on sysv_ipc) and `native` (one small Cython module).

layout     the 32-byte header of a message and the shared memory that all processes of a run count in
protocol   what an engine is: a sender and a receiver, run in slices of time
python     what a Python program gets
native     what the kernel gives
reference  the two bare loops that `harness ceiling` compares them with
choice     which of them are here, and which one `auto` means
"""
