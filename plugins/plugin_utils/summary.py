# SPDX-License-Identifier: MIT
"""Say at the end of a deployment where to look. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import elsewhere, topology
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import SWITCHES, Topology
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.web import server_names

OWN_APPLICATION = Path(__file__).resolve().parents[2] / "app"  # which the platform brings, and whose tasks are known


def summary(
    topo: Topology, variables: Mapping[str, Any], *, drained: Sequence[str], secrets: str, inventory: str
) -> str:
    """Return where each page is found, with which password, and what to try next.

    Args:
        topo: the platform's hosts.
        variables: a host's variables.
        drained: the hosts whose workers are out of service.
        secrets: the folder of the generated passwords, as the user would type it.
        inventory: the inventory, as the user would type it; empty where it is the default.
    """
    lines = [f"Drained, so without workers: {host} (make undrain HOST={host} starts them again)" for host in drained]
    lines += ["", *_pages(topo, variables, secrets), f"  Every password     {secrets}/", ""]
    app = variables["celery_app"]
    lines += [
        f"To try next, with INVENTORY={inventory}:" if inventory else "To try next:",
        "  make status",
        f"  make ssh CMD='celery -A {app} status'",
    ]
    if Path(variables["celery_app_source"]).resolve() == OWN_APPLICATION:
        call = "from tasks import add; print(add.delay(2, 3).get(timeout=10))"
        lines.append(f"  make ssh CMD='celery-python -c \"{call}\"'")
    else:
        lines.append(f"  make ssh CMD='celery -A {app} inspect registered'")
    return "\n".join([*lines, "  make ssh CMD='supervisorctl restart celery'"])


def _pages(topo: Topology, variables: Mapping[str, Any], secrets: str) -> list[str]:
    """Return a line for each page, and for the parts that run nowhere."""
    proxies, port = topo.members["proxy"], variables["celery_web_port"]
    door = f"http://{topology.place(topo.addresses[proxies[0]], port)}".removesuffix(":80") if proxies else ""
    lines = []
    if topo.runs("web"):
        alone = f"on {', '.join(topo.members['web'])} alone: no host is in the group proxy"
        names = server_names(variables)
        named = f"http://{names[0]}{'' if port == 80 else f':{port}'}" if names and door else door
        lines.append("  The application    " + (f"{named}/" if door else f"http://127.0.0.1:{topology.WEB}/ {alone}"))
    if topo.runs("monitoring"):
        alone = f"http://127.0.0.1:{topology.FLOWER}/flower/ on {', '.join(topo.members['monitoring'])} alone"
        page = f"{door}/flower/" if door else alone
        lines.append(f"  Flower             {page}    user admin, password in {secrets}/flower.txt")
    ours = [group for group in SWITCHES if group in topo.enabled and group not in topo.elsewhere]
    without = [group for group in ours if not topo.members[group]]
    if without:
        these = "these groups" if len(without) > 1 else "this group"
        lines.append(f"  Not run            {', '.join(without)}: no host is in {these}")
    for name, address, sentences in elsewhere.notes(variables, topo.runs("monitoring")):
        lines.append(f"  {name:<19}{address}, which the platform does not run:")
        lines += [f"  {'':<19}- {sentence}" for sentence in sentences]
    if topo.broker == "rabbitmq" and topo.runs("brokers"):
        broker = topo.addresses[topo.members["brokers"][0]]
        page = f"http://{topology.place(broker, variables['celery_rabbitmq_management_port'])}/"
        lines.append(f"  RabbitMQ's page    {page}    user operator, password in {secrets}/rabbitmq_operator.txt")
    return lines
