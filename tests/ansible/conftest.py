"""What tests of the collection run with: an ansible-core, and hosts in miniature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.ansible.controller import VERSIONS, Controller
from tests.ansible.hosts import Host, hosts


@pytest.fixture(params=VERSIONS)
def controller(request: pytest.FixtureRequest, tmp_path: Path) -> Controller:
    """Each ansible-core, with the collection where it looks for it."""
    made = Controller(request.param, tmp_path)
    made.install()
    return made


@pytest.fixture
def fleet(controller: Controller) -> Iterator[Callable[..., dict[str, Host]]]:
    """Makes hosts of these names."""
    with ExitStack() as stack:
        yield lambda *names: stack.enter_context(hosts(controller, *names))
