#!/usr/bin/env python3
"""Runs of brc in numpy: configuration, logs, weights, and the networks themselves. Needs numpy alone.

    import brc_run
    run = brc_run.Run("runs/walker-run-s0")
    run.config["width"], run.log["eval_return/walker-run"], run.tensors["actor/mean/kernel"]
    action = run.networks.action(obs, task)                 # the mean policy
    value = run.networks.value(obs, action, task)           # the critics' expected value

As a command it prints what a run is and where it stands:  tools/brc_run.py RUN...
"""
import csv
import json
import os
import sys

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U64": "<u8", "U32": "<u4", "U8": "u1"}


def read_safetensors(path):
    """{name: array} and {key: text} of a safetensors file. The arrays are views of the mapped file: nothing is read before use."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(length))
    meta = header.pop("__metadata__", {})
    data = np.memmap(path, np.uint8, "r", 8 + length) if os.path.getsize(path) > 8 + length else np.empty(0, np.uint8)
    arrays = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        arrays[name] = data[begin:end].view(DTYPES[t["dtype"]]).reshape(t["shape"])
    return arrays, meta


def read_log(path):
    """{column: float64 array} of log.csv or train.csv; NaN where nothing was to report."""
    with open(path, newline="") as f:
        rows = list(csv.reader(f))
    if not rows:
        return {}
    whole = [r for r in rows[1:] if len(r) == len(rows[0])]  # a running trainer may be writing the last one
    return {name: np.array([float(r[i] or "nan") for r in whole]) for i, name in enumerate(rows[0])}


class Networks:
    """Actor and critics from tensors named as in a checkpoint ("actor/input/kernel"), in the type of `dtype`.

    obs [N, O] (zero behind a task's own dimensions), action [N, A], task: a number or [N]; not used with one task.
    """

    def __init__(self, tensors, config=None, prefix="", dtype=np.float32):
        config = config or {}
        self.tensors, self.prefix, self.dtype = tensors, prefix, dtype
        self.eps = config.get("layernorm_eps", 1e-6)
        self.v_max = config.get("v_max", 10.0)
        self.log_std_range = config.get("log_std_min", -10.0), config.get("log_std_max", 2.0)
        self.l1 = config.get("embedding_norm", "l2") == "l1"

    def tensor(self, name):
        return np.asarray(self.tensors[self.prefix + name], self.dtype)

    def dense(self, name, x):
        """y = x K + b; in a critic K is [E, in, out] and the result [E, N, out]."""
        kernel, bias = self.tensor(name + "/kernel"), self.tensor(name + "/bias")
        return x @ kernel + (bias[:, None] if kernel.ndim == 3 else bias)

    def norm(self, name, x):
        scale, bias = self.tensor(name + "/scale"), self.tensor(name + "/bias")
        if scale.ndim == 2:
            scale, bias = scale[:, None], bias[:, None]
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.dtype(self.eps)) * scale + bias

    def bronet(self, net, x):
        h = np.maximum(self.norm(net + "/input_norm", self.dense(net + "/input", x)), 0)
        i = 0
        while f"{self.prefix}{net}/block{i}/dense0/kernel" in self.tensors:
            block = f"{net}/block{i}/"
            r = np.maximum(self.norm(block + "norm0", self.dense(block + "dense0", h)), 0)
            h = h + self.norm(block + "norm1", self.dense(block + "dense1", r))
            i += 1
        return h

    def inputs(self, critic, task, *parts):
        """[obs, (action,) embedding of the task]; the embedding is the one of `critic`."""
        parts = [np.asarray(p, self.dtype) for p in parts]
        name = critic + "/embedding"
        if self.prefix + name in self.tensors:
            if task is None:
                raise ValueError("a policy of several tasks needs the task's number")
            table = self.tensor(name)
            table = table / np.linalg.norm(table, ord=1 if self.l1 else 2, axis=-1, keepdims=True)
            parts.append(table[np.broadcast_to(task, parts[0].shape[:1])])
        return np.concatenate(parts, -1)

    def policy(self, obs, task=None):
        """Mean and standard deviation [N, A] before the tanh."""
        h = self.bronet("actor", self.inputs("critic", task, obs))
        low, high = self.log_std_range
        log_std = low + (high - low) * 0.5 * (1 + np.tanh(self.dense("actor/log_std", h)))
        return self.dense("actor/mean", h), np.exp(log_std)

    def action(self, obs, task=None, noise=None):
        """The mean action; with standard normals `noise` [N, A] a sample."""
        mean, std = self.policy(obs, task)
        return np.tanh(mean if noise is None else mean + std * np.asarray(noise, self.dtype))

    def logits(self, obs, action, task=None, critic="critic"):
        """[E, N, atoms]; critic="target" for the target network."""
        x = self.inputs(critic, task, obs, action)
        return self.dense(critic + "/output", self.bronet(critic, x))

    def value(self, obs, action, task=None, critic="critic"):
        """Expected value [N]: the mean over the critics."""
        logits = self.logits(obs, action, task, critic)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p = (p / p.sum(-1, keepdims=True)).mean(0)
        return p @ np.linspace(-self.v_max, self.v_max, p.shape[-1], dtype=self.dtype)


class Run:
    """A run folder. What is read from files is read at first use."""

    def __init__(self, path):
        self.path = path
        with open(os.path.join(path, "config.json")) as f:
            self.config = json.load(f)
        self.tasks = self.config["tasks"]
        self._cache = {}

    def _once(self, key, make):
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def _log(self, name):
        path = os.path.join(self.path, name)
        return self._once(name, lambda: read_log(path) if os.path.exists(path) else {})

    @property
    def log(self):
        """log.csv: a row per evaluation."""
        return self._log("log.csv")

    @property
    def train(self):
        """train.csv"""
        return self._log("train.csv")

    @property
    def tensors(self):
        """The last checkpoint: networks, moments, normaliser, loop."""
        path = os.path.join(self.path, "checkpoint", "state.safetensors")
        return self._once("tensors", lambda: read_safetensors(path)[0])

    @property
    def networks(self):
        return self._once("networks", lambda: Networks(self.tensors, self.config))

    @property
    def env_steps(self):
        return int(self.tensors["loop/steps"][0])


def parameters(tensors, net):
    return sum(t.size for name, t in tensors.items() if name.startswith(net + "/"))


def summary(run):
    lines = [f"{run.path}: {len(run.tasks)} task{'s' * (len(run.tasks) > 1)}, seed {run.config.get('seed')}"]
    lines.append(f"  device     {run.config.get('device_name')} ({run.config.get('backend')})")
    if os.path.exists(os.path.join(run.path, "checkpoint", "state.safetensors")):
        t = run.tensors
        lines.append(f"  checkpoint at step {run.env_steps} of {run.config.get('steps')}: actor {parameters(t, 'actor'):,} "
                     f"parameters, critic {parameters(t, 'critic'):,}, alpha {np.exp(t['log_alpha'][0]):.4g}")
    else:
        lines.append("  no checkpoint yet")
    steps = run.log.get("env_steps", np.empty(0))
    if len(steps):
        lines.append(f"  {len(steps)} evaluations, the last at step {int(steps[-1])}")
        width = max(len(task) for task in run.tasks)
        for task in run.tasks:
            returns = run.log[f"eval_return/{task}"]
            lines.append(f"    {task:{width}}  return {returns[-1]:10.3f}  best {np.nanmax(returns):10.3f}  "
                         f"success {run.log[f'eval_success/{task}'][-1]:.2f}")
    return "\n".join(lines)


def main(paths):
    if not paths or paths[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if paths else 2
    for path in paths:
        try:
            print(summary(Run(path)))
        except (OSError, ValueError, KeyError) as e:
            print(f"brc_run.py: {path}: {e}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
