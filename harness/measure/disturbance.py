"""Was the machine quiet while we measured? Argues with the figures that the readers brought.

For the runs, which keep a `Disturbance` in the result, and for the displays, which show its verdict, its reasons and
the next thing to try. It reads nothing itself: observe.py, throttling.py and jitter.py do, and give None for what
cannot be read. None is kept as null, and then nothing is called clean. The limits are those of MEASURING:

    steal                    over 0.5 % of the CPUs' time: the hypervisor ran others
    runnable but waiting     over 1 % of the time, for a worker, while there are no more workers than CPUs
    throttled                at all: the cgroup's CPU limit stopped us

The verdict, the first that holds of:

    disturbed        a source is over its limit; waiting does not count while there are more workers than CPUs
    oversubscribed   more workers than CPUs: some always wait, whatever the rest of the machine does
    unknown          a source could not be read
    clean            all were read, and none is over its limit

So a disturbance that was seen outranks what the plan itself asks for, and both outrank what was not seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from harness.measure.jitter import Jitter

STEAL_LIMIT: Final = 0.005
"""Share of the CPUs' time above which steal disturbs."""

WAIT_LIMIT: Final = 0.01
"""Share of its time above which a worker that is runnable but waits is disturbed."""

NOTICEABLE_SHARE: Final = 0.02
"""Share of the CPUs' time below which other processes cannot be what disturbed."""

Verdict: TypeAlias = Literal["clean", "disturbed", "oversubscribed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What was seen of the machine during a run; None for what could not be read.

    `steal_share`, `runnable_wait_share` (of the worst worker) and `busy_others_share` are shares from 0 to 1;
    `throttled_ns` is during the run; `jitter` is from before it, has no limit, but keeps the verdict from being clean
    when it is None, as any missing source does. `busy_others_share` decides nothing and only tells where to look.
    """

    steal_share: float | None
    runnable_wait_share: float | None
    throttled_ns: int | None
    jitter: Jitter | None
    workers: int
    cpus: int
    busy_others_share: float | None = None

    @property
    def verdict(self) -> Verdict:
        """One word; the module's docstring says which comes first."""
        if self._disturbances():
            return "disturbed"
        if self._oversubscribed:
            return "oversubscribed"
        return "unknown" if self._unknown() else "clean"

    @property
    def reasons(self) -> list[str]:
        """A sentence for each thing that keeps the run from being clean, with its figure and its limit."""
        oversubscription = f"{self.workers} workers share {self.cpus} CPUs, so that some always wait."
        unknown = [f"{source} could not be read." for source in self._unknown()]
        return [*self._disturbances().values(), *([oversubscription] if self._oversubscribed else []), *unknown]

    @property
    def next_step(self) -> str:
        """A sentence: the next thing to try."""
        if self.verdict == "unknown":
            return "Repeat the run and compare medians, or run where the kernel shows what is missing, as in the VM."
        if self.verdict == "oversubscribed":
            return f"Use at most {self.cpus} workers here, or a machine with {self.workers} CPUs."
        if found := self._disturbances():
            return self._remedy("throttled" if "throttled" in found else max(found, key=self._times_its_limit))
        return "Nothing: the machine was quiet."

    def to_json(self) -> dict[str, Any]:
        """The verdict with its reasons and next step, and all that they rest on."""
        return {"verdict": self.verdict, "reasons": self.reasons, "next_step": self.next_step, **asdict(self)}

    def _times_its_limit(self, source: str) -> float:
        """How far over its limit a share is: a little steal is not what made a worker wait for half its time."""
        return (
            (self.steal_share or 0) / STEAL_LIMIT if source == "steal" else (self.runnable_wait_share or 0) / WAIT_LIMIT
        )

    @property
    def _oversubscribed(self) -> bool:
        return self.workers > self.cpus

    def _disturbances(self) -> dict[str, str]:
        """Each source that is over its limit, with its sentence."""
        seen = {}
        if self.throttled_ns:
            seen["throttled"] = f"The cgroup's CPU limit stopped us for {self.throttled_ns / 1e6:.3g} ms (limit: 0 ms)."
        if self.steal_share is not None and self.steal_share > STEAL_LIMIT:
            seen["steal"] = (
                f"The hypervisor took {self.steal_share:.2%} of the CPUs' time for others (limit: {STEAL_LIMIT:.1%})."
            )
        waited = self.runnable_wait_share
        if waited is not None and waited > WAIT_LIMIT and not self._oversubscribed:
            seen["waiting"] = f"A worker was runnable but waited {waited:.2%} of the time (limit: {WAIT_LIMIT:.1%})."
        return seen

    def _unknown(self) -> list[str]:
        """The sources that could not be read, as sentences begin with them."""
        sources = {
            "Throttling by the cgroup": self.throttled_ns,
            "Steal": self.steal_share,
            "How long workers waited for a CPU": self.runnable_wait_share,
            "The jitter baseline": self.jitter,
        }
        return [source for source, figure in sources.items() if figure is None]

    def _remedy(self, source: str) -> str:
        if source == "throttled":
            return (
                "Raise or remove the cgroup's CPU limit (cpu.max; cpu.cfs_quota_us in version 1), "
                "or ask for a lower rate, and run again."
            )
        if source == "steal":
            return "Stop the host's other virtual machines, or run when they are idle, and run again."
        if self.busy_others_share is None:
            return "Stop what else runs on this machine, or use fewer workers, and run again."
        if self.busy_others_share < NOTICEABLE_SHARE:
            return "Nothing else took CPU time to speak of: run it again, with fewer workers or without a live view."
        return (
            f"Stop what else runs on this machine (it took {self.busy_others_share:.0%} of the CPUs), "
            "or use fewer workers, and run again."
        )
