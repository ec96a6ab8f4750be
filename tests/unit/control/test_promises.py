"""Changes kept for hosts that are away, and what has become of them."""

from __future__ import annotations

from ryu_apps.control.promises import Promises, Standing

AGREES, WAITING, REFUSES = ((standing, "") for standing in Standing)


def test_a_change_is_installed_when_all_its_hosts_agree() -> None:
    """Hosts that the change does not wait for, and hosts that are registered no more, do not matter."""
    promises = Promises()
    promises.promise(7, ["h1", "h2", "gone"])

    assert promises.progress(7, {"h1": AGREES, "h2": WAITING, "h3": WAITING}).waiting_for == ("h2",)
    assert promises.progress(7, {"h1": AGREES, "h2": WAITING}).state == "stored"
    assert promises.progress(7, {"h1": AGREES, "h2": AGREES, "h3": REFUSES}).state == "installed"


def test_a_change_has_failed_when_a_switch_refuses() -> None:
    """What the switch said stands beside its host."""
    promises = Promises()
    promises.promise(7, ["h1", "h2"])

    failed = promises.progress(7, {"h1": WAITING, "h2": (Standing.REFUSES, "table full")})

    assert (failed.state, failed.waiting_for, failed.failures) == ("failed", ("h1",), {"h2": "table full"})


def test_a_change_that_is_not_remembered_waits_for_every_host() -> None:
    """After a restart, and beyond what is remembered, no change is called installed too early."""
    promises = Promises()
    for generation in range(1, 2000):
        promises.promise(generation, ["h1"])

    assert promises.progress(1, {"h1": AGREES, "h2": WAITING}).waiting_for == ("h2",)
    assert promises.progress(1999, {"h1": AGREES, "h2": WAITING}).state == "installed"


def test_a_generation_may_be_promised_twice() -> None:
    """What was put again while its host was away waits for the hosts of both requests."""
    promises = Promises()
    promises.promise(7, ["h1"])
    promises.promise(7, ["h2"])

    assert promises.progress(7, {"h1": WAITING, "h2": WAITING}).waiting_for == ("h1", "h2")
