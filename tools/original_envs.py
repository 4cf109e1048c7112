"""The environments that envs/ is equal to, made as the published code makes them. What each suite needs to be importable:

    dm_control             pip install mujoco==3.1.6 dm_control==1.0.20 gymnasium==0.29.1 shimmy==1.3.0 imageio numpy==1.26.4
    BRC's own DMC tasks    the folder of the published code (dmc_envs/) on PYTHONPATH
    HumanoidBench          the folder of a clone of it (humanoid_bench/) on PYTHONPATH
"""
import contextlib
import importlib
import importlib.util
import sys
import types

CUSTOM = ("cheetah", "walker", "hopper", "reacher", "ball_in_cup", "pendulum", "fish")  # domains with tasks of BRC's own


def make(task, seed=0):
    """A gymnasium environment; ImportError, or KeyError and ValueError for a task that the suite does not have, otherwise."""
    with contextlib.redirect_stdout(sys.stderr):  # some are talkative
        return humanoidbench(task) if task.endswith("-v0") else dm_control(task, seed)


def dm_control(task, seed):
    from dm_control import suite
    from gymnasium.wrappers import FlattenObservation, RescaleAction
    from shimmy import DmControlCompatibilityV0

    domain, name = task.split("-")
    if (domain, name) not in suite.ALL_TASKS:
        for custom in CUSTOM:
            importlib.import_module("dmc_envs.tasks." + custom)
        suite.ALL_TASKS = suite.ALL_TASKS + suite._get_tasks("custom")
        suite.TASKS_BY_DOMAIN = suite._get_tasks_by_domain(suite.ALL_TASKS)
    env = DmControlCompatibilityV0(suite.load(domain, name, task_kwargs={"random": seed}))
    return RescaleAction(FlattenObservation(env), -1.0, 1.0)


def humanoidbench(task):
    import gymnasium

    if importlib.util.find_spec("torch") is None:  # only for its hierarchical control, which no task here uses
        unused = types.ModuleType("humanoid_bench.mjx.flax_to_torch")
        unused.TorchModel = unused.TorchPolicy = None
        sys.modules.setdefault(unused.__name__, unused)
    import humanoid_bench  # noqa: F401  registers the tasks

    return gymnasium.make(task, autoreset=False, render_mode=None)


def simulation(env):
    """(mjModel, mjData, the task's object) of an environment made here."""
    inner = env.unwrapped  # shimmy's wrapper passes on what dm_control's environment has
    if hasattr(inner, "physics"):
        return inner.physics.model.ptr, inner.physics.data.ptr, inner.task
    return inner.model, inner.data, inner.task
