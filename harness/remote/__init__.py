"""The way into this checkout's virtual machine, for hosts that have no message queues, and for `--vm`.

    choice.py    here, or in the VM?
    vagrant.py   which VM, what state it is in, how SSH gets in
    visit.py     one visit: files go in, a command runs, files come back, nothing is left
    guest.py     the other end of a visit: it runs in the VM
    project.py   which files go in
    sources.py   whether both ends have the same harness

Vagrant is asked once where all is well, which takes most of the time that a visit costs. It says in whose name and
through which port SSH gets in; the rest is plain `ssh`.
"""
