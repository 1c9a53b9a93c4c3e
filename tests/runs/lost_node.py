"""For test_executors.py: a cluster of two nodes, one of which is killed while both are at work.

Leaves in found.json the values, those of a second call, and the number of contexts made.
"""

import json
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tests.runs.chores import Kitchen, Square, Waiting, alive
from workbench.runs.executors import choose_executor


def kill_when_busy(cluster: Cluster, node: object, kitchen: Kitchen) -> None:
    """Once two workers are in the middle of a unit, take one's node away; when it is gone, let the rest go on."""
    while len(kitchen.noted("began")) < 2:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
    while all(alive(worker) for worker in kitchen.noted("began")):
        time.sleep(0.05)
    (kitchen.folder / "go").touch()


def main(folder: Path) -> None:
    kitchen, works = Kitchen(folder), [Waiting(number) for number in range(6)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        killer = threading.Thread(target=kill_when_busy, args=(cluster, second, kitchen))
        killer.start()
        with choose_executor("ray", 2) as executor:
            values = executor.finish(kitchen, works, "cook")
            again = executor.finish(kitchen, [*works, Square(7)], "cook")
        killer.join()
        (folder / "found.json").write_text(json.dumps([values, again, len(kitchen.noted("opened"))]))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
