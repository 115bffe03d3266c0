"""How results look: pure functions from a result, a snapshot or a report to something that can be printed.

    terminal   the live view and the final report of `harness load` (rich)
    plain      the same without a terminal: lines of text
    series     the series as CSV, for other programs
    words      phrases and figures that they share
    ceiling    the table of `harness ceiling`
    diff       the table of `harness diff`, and of `harness load --baseline`
    doctor     the lines of `harness doctor`
    lab        where a learner is, hints and differences

Nothing here runs, reads or writes anything.
"""
