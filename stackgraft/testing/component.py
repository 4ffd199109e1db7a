"""What holds for every component."""

from __future__ import annotations

import json

from stackgraft import flavors
from stackgraft.components import Component


class ComponentContract:
    """What holds for every component; the fixture `component` gives one."""

    def test_its_claim_is_json_and_makes_an_equal_component(self, component: Component) -> None:
        claim = json.loads(json.dumps(component.claim()))
        assert flavors.create(component.role, claim) == component

    def test_its_flavor_is_registered_under_its_own_name(self, component: Component) -> None:
        assert flavors.load(component.role, component.flavor) is type(component)
