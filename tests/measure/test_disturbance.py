"""The verdict follows from the figures: what was seen, its limits, and what could not be seen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.measure.disturbance import Disturbance
from harness.measure.jitter import Jitter

QUIET = Disturbance(
    steal_share=0.0,
    runnable_wait_share=0.0,
    throttled_ns=0,
    jitter=Jitter(duration_ns=50_000_000, gaps=500_000, median_ns=90, p99_ns=150, max_ns=9_000, lost_share=0.0),
    workers=2,
    cpus=2,
)


class TestVerdict:
    def test_of_a_quiet_machine_is_clean(self) -> None:
        """A machine whose sources were all read and are within their limits was quiet, and nothing needs a reason."""
        assert (QUIET.verdict, QUIET.reasons) == ("clean", [])
        assert QUIET.next_step.startswith("Nothing")

    def test_at_the_limits_is_clean(self) -> None:
        """Only what is over a limit disturbs."""
        assert replace(QUIET, steal_share=0.005, runnable_wait_share=0.01).verdict == "clean"

    @pytest.mark.parametrize(
        ("seen", "reason", "step"),
        [
            (
                replace(QUIET, steal_share=0.0123),
                "1.23% of the CPUs' time for others (limit: 0.5%)",
                "virtual machines",
            ),
            (
                replace(QUIET, runnable_wait_share=0.034),
                "waited 3.40% of the time (limit: 1.0%)",
                "Stop what else runs",
            ),
            (replace(QUIET, throttled_ns=2_500_000), "stopped us for 2.5 ms (limit: 0 ms)", "cpu.max"),
        ],
    )
    def test_over_a_limit_is_disturbed(self, seen: Disturbance, reason: str, step: str) -> None:
        """What is over its limit disturbs: the reason has figure and limit, and the next step fits it."""
        assert seen.verdict == "disturbed"
        assert len(seen.reasons) == 1
        assert reason in seen.reasons[0]
        assert step in seen.next_step

    def test_names_what_others_took(self) -> None:
        """When workers waited and it is known that others ran, the next step says how much."""
        seen = replace(QUIET, runnable_wait_share=0.2, busy_others_share=0.45)

        assert "(it took 45% of the CPUs)" in seen.next_step

    def test_with_too_many_workers_is_oversubscribed(self) -> None:
        """With more workers than CPUs the waiting is the plan's own, and no disturbance."""
        seen = replace(QUIET, workers=5, runnable_wait_share=0.6)

        assert seen.verdict == "oversubscribed"
        assert seen.reasons == ["5 workers share 2 CPUs, so that some always wait."]
        assert "at most 2 workers" in seen.next_step

    @pytest.mark.parametrize(
        "seen",
        [
            replace(QUIET, steal_share=None),
            replace(QUIET, runnable_wait_share=None),
            replace(QUIET, throttled_ns=None),
            replace(QUIET, jitter=None),
        ],
    )
    def test_with_a_missing_source_is_unknown(self, seen: Disturbance) -> None:
        """When any one source could not be read nothing is called clean, and the reason names it."""
        assert seen.verdict == "unknown"
        assert len(seen.reasons) == 1
        assert seen.reasons[0].endswith("could not be read.")
        assert "compare medians" in seen.next_step

    def test_disturbed_outranks_oversubscribed_outranks_unknown(self) -> None:
        """What was seen outranks what the plan asks for, and both what was not seen; the reasons have all of it."""
        missing = replace(QUIET, throttled_ns=None)
        crowded = replace(missing, workers=3)
        stolen = replace(crowded, steal_share=0.5)

        assert [seen.verdict for seen in (missing, crowded, stolen)] == ["unknown", "oversubscribed", "disturbed"]
        assert [len(seen.reasons) for seen in (missing, crowded, stolen)] == [1, 2, 3]

    def test_goes_into_json(self) -> None:
        """The JSON has the verdict, its reasons and the figures, with null for what is unknown."""
        data = json.loads(json.dumps(replace(QUIET, throttled_ns=None).to_json()))

        assert data["verdict"] == "unknown"
        assert data["reasons"] == ["Throttling by the cgroup could not be read."]
        assert data["throttled_ns"] is None
        assert data["jitter"]["max_ns"] == 9_000
        assert (data["workers"], data["cpus"]) == (2, 2)


def test_the_next_step_is_about_what_disturbed_most() -> None:
    """A little steal beside a worker that waited for half its time: what else runs is to be stopped, not the host's."""
    found = Disturbance(
        steal_share=0.0054,
        runnable_wait_share=0.49,
        throttled_ns=0,
        jitter=None,
        workers=2,
        cpus=2,
        busy_others_share=0.5,
    )

    assert "what else runs on this machine" in found.next_step
