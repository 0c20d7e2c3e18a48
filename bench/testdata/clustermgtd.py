"""Measures passes of the real clustermgtd.

Arguments: its configuration file, and how many passes. Prints a JSON list with, for
each pass, how many seconds it took and how many of those it slept on purpose.
"""

import json
import sys
import time

from slurm_plugin import clustermgtd

config = clustermgtd.ClustermgtdConfig(sys.argv[1])
manager = clustermgtd.ClusterManager(config=config)
# The fleet's status comes from a script of the head node that is not here.
manager._compute_fleet_status_manager.get_status = lambda fallback=None: clustermgtd.ComputeFleetStatus.RUNNING

slept = 0.0
real_sleep = time.sleep


def sleep(seconds):
    global slept
    slept += seconds
    real_sleep(seconds)


clustermgtd.time.sleep = sleep
passes = []
for _ in range(int(sys.argv[2])):
    manager.set_config(clustermgtd.ClustermgtdConfig(sys.argv[1]))
    slept, began = 0.0, time.perf_counter()
    manager.manage_cluster()
    passes.append({"took": time.perf_counter() - began, "slept": slept})
instances = manager._instance_manager.get_cluster_instances()
print(json.dumps({"passes": passes, "instances": len(instances)}))
manager.shutdown()
