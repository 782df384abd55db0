"""Lists, applies, waits and deletes by the client that openapi-python-client made from the description of the API.

client.py FOLDER URL: FOLDER has the package `client`; the token is in TOKEN.
"""

import os
import sys

sys.path.insert(0, sys.argv[1])

from client import AuthenticatedClient  # noqa: E402
from client.api.datadisks import list_data_disks  # noqa: E402
from client.api.documents import apply, plan  # noqa: E402
from client.api.hosts import list_hosts  # noqa: E402
from client.api.virtualservergroups import list_virtual_server_groups  # noqa: E402
from client.api.virtualserverpools import list_virtual_server_pools  # noqa: E402
from client.api.virtualserverquotas import list_virtual_server_quotas  # noqa: E402
from client.api.virtualservers import (  # noqa: E402
    delete_virtual_server,
    get_virtual_server,
    list_virtual_server_runs,
    list_virtual_servers,
    start_virtual_server,
)
from client.api.virtualserversnapshots import list_virtual_server_snapshots  # noqa: E402
from client.api.virtualservertypes import list_virtual_server_types  # noqa: E402
from client.models import ActionRequest, ApplyJsonBody, PlanJsonBody, Problem  # noqa: E402

NAMESPACE, NAME = "default", "made-by-a-client"
DOCUMENT = {
    "apiVersion": "vsiflow.io/v1",
    "kind": "VirtualServer",
    "metadata": {"name": NAME},
    "spec": {
        "imageURL": "http://images.lab.test:8080/hpcr-guest.qcow2",
        "guest": {"type": "cloudInit"},
        "machine": {"cpus": 1, "memory": "512Mi"},
    },
}


def good(answer):
    """The answer, unless it is a problem."""
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


def main():
    server = AuthenticatedClient(
        base_url=sys.argv[2], token=os.environ["TOKEN"], verify_ssl=False, timeout=60
    )
    for lists in (
        list_virtual_servers,
        list_virtual_server_pools,
        list_virtual_server_groups,
        list_data_disks,
        list_virtual_server_snapshots,
        list_virtual_server_quotas,
        list_virtual_server_types,
        list_hosts,
    ):
        assert good(lists.sync(client=server)).items, lists.__name__

    planned = good(plan.sync(client=server, body=PlanJsonBody.from_dict(DOCUMENT), host="sim:"))
    assert planned.items[0]["action"] == "create", planned
    good(apply.sync(client=server, body=ApplyJsonBody.from_dict(DOCUMENT), host="sim:", reason="a test"))
    waited = good(
        start_virtual_server.sync(NAMESPACE, NAME, client=server, body=ActionRequest(wait_seconds=50))
    )
    assert waited.outcome.value == "Reached", waited
    made = good(get_virtual_server.sync(NAMESPACE, NAME, client=server))
    assert made.status.phase.value == "Running", made
    assert good(list_virtual_server_runs.sync(NAMESPACE, NAME, client=server)).items

    good(delete_virtual_server.sync(NAMESPACE, NAME, client=server, wait_seconds=50))
    names = [one.metadata.name for one in good(list_virtual_servers.sync(client=server)).items]
    assert NAME not in names and "web" in names, names
    gone = get_virtual_server.sync(NAMESPACE, "never-made", client=server)
    assert isinstance(gone, Problem) and gone.code == "VSI0703", gone


main()
