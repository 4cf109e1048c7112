"""Checks of what leaves brc and comes into it, with the programs of others; run by test_export.

    export_check.py onnx MODEL DATA        onnxruntime's actions
    export_check.py numpy RUN DATA         brc_run.py's actions, values and logs
    export_check.py golden CASE            brc_run.py's samples and logits on a golden case
    export_check.py flax RUN DATA...       actions of flax modules that take the run's weights
    export_check.py flax-golden CASE...    the same with the weights and inputs of golden cases, beside brc_run.py's actions
    export_check.py write RUN FOLDER...    the run as a checkpoint of the published implementation, written by flax

DATA: safetensors with obs [N,O], task [N], action [N,A] and value [N] of brc. Prints the largest difference. Exit status 77, with
the module's name: it is not installed.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
sys.dont_write_bytecode = True


def need(*names):
    modules = []
    for name in names:
        try:
            modules.append(__import__(name, fromlist=["_"]))
        except ImportError:
            print(name)
            sys.exit(77)
    return modules


def report(what, got, want, bound):
    worst = float(np.max(np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))))
    print(f"{what}: {worst:.3g}")
    if got.shape != want.shape or not worst <= bound:
        sys.exit(f"{what}: {got.shape} and {want.shape} differ by {worst:g}, more than {bound:g}")


def read_data(path):
    data = brc_run.read_safetensors(path)[0]
    return data["obs"], data["task"], data["action"], data["value"]


def check_onnx(model, path):
    onnx, runtime = need("onnx", "onnxruntime")
    obs, task, action, _ = read_data(path)
    onnx.checker.check_model(onnx.load(model), full_check=True)
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    several = len(session.get_inputs()) == 2
    meta = session.get_modelmeta().custom_metadata_map
    if len(meta["tasks"].split(",")) != (task.max() + 1 if several else 1):
        sys.exit(f"metadata: {meta}")

    def act(rows):
        feed = {"obs": obs[rows]}
        if several:
            feed["task"] = task[rows].astype(np.int64)
        return session.run(["action"], feed)[0]

    report("onnx", act(slice(None)), action, 5e-6)
    report("onnx, one row", act(slice(0, 1)), action[:1], 5e-6)


def check_numpy(path, data):
    obs, task, action, value = read_data(data)
    run = brc_run.Run(path)
    networks = run.networks
    if list(run.log["env_steps"]) != [40, 80] or run.env_steps != 80:  # as test_export trains it
        sys.exit(f"log.csv: {run.log}, step {run.env_steps}")
    if any(not np.isfinite(run.log[f"eval_return/{name}"]).all() or name not in brc_run.summary(run)
           for name in run.tasks):
        sys.exit(f"log.csv: {run.log}")
    report("numpy action", networks.action(obs, task), action, 5e-6)
    report("numpy value", networks.value(obs, action, task), value, 1e-4)


def check_golden(path):
    t, meta = brc_run.read_safetensors(path)
    networks = brc_run.Networks(t, {"v_max": float(meta["v_max"]), "embedding_norm": meta["embedding_norm"]},
                                "init/", np.float64)
    task = t["update0/batch/task"]
    action = networks.action(t["update0/batch/next_obs"], task, t["update0/noise/target"])
    report("golden action", action, t["expect64/update0/next_action"], 1e-9)
    logits = networks.logits(t["update0/batch/obs"], t["update0/batch/action"], task)
    stride = int(meta["thin_stride"])
    name = "expect64/update0/q_logits"
    want = t[name].reshape(-1) if name in t else t[f"{name}.every{stride}"]
    report("golden logits", logits.reshape(-1)[:: 1 if name in t else stride], want, 1e-9 * np.abs(want).max())


def modules():
    """The published architecture in flax. The classes' names make the names of the parameters."""
    nn, jnp = need("flax.linen", "jax.numpy")

    class BronetBlock(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
            return x + nn.LayerNorm()(nn.Dense(self.width)(h))

    class BroNet(nn.Module):
        width: int
        depth: int
        outputs: int = 0

        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
            for _ in range(self.depth):
                h = BronetBlock(self.width)(h)
            return nn.Dense(self.outputs)(h) if self.outputs else h

    class Actor(nn.Module):
        width: int
        depth: int
        actions: int

        @nn.compact
        def __call__(self, x):
            h = BroNet(self.width, self.depth)(x)
            mean, _ = nn.Dense(self.actions)(h), nn.Dense(self.actions)(h)
            return jnp.tanh(mean)

    class Member(nn.Module):
        width: int
        depth: int
        atoms: int

        def setup(self):
            self.critic = BroNet(self.width, self.depth, self.atoms)

        def __call__(self, x):
            return self.critic(x)

    class Ensemble(nn.Module):
        members: int
        width: int
        depth: int
        atoms: int

        def setup(self):
            many = nn.vmap(Member, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None,
                           axis_size=self.members)
            self.q_value_ensemble = many(self.width, self.depth, self.atoms)

        def __call__(self, x):
            return self.q_value_ensemble(x)

    class Embedding(nn.Module):
        tasks: int
        dim: int

        def setup(self):
            self.embeddings = nn.Embed(self.tasks, self.dim)

        def __call__(self, task):
            e = self.embeddings(task)
            return e / jnp.linalg.norm(e, axis=-1, keepdims=True)

    class Critic(nn.Module):
        tasks: int
        dim: int
        members: int
        width: int
        depth: int
        atoms: int

        def setup(self):
            if self.tasks > 1:
                self.task_embedding = Embedding(self.tasks, self.dim)
            self.q_value_ensemble = Ensemble(self.members, self.width, self.depth, self.atoms)

        def __call__(self, x, task):
            if self.tasks > 1:
                x = jnp.concatenate((x, self.task_embedding(task)), -1)
            return self.q_value_ensemble(x)

    class Temperature(nn.Module):
        @nn.compact
        def __call__(self):
            return jnp.exp(self.param("log_temp", lambda key: jnp.zeros(())))

    return Actor, Critic, Temperature


def our_name(net, path):
    """ "BroNet_0/BronetBlock_1/Dense_0/kernel" of the actor -> "block1/dense0/kernel" """
    path = path.removeprefix("q_value_ensemble/q_value_ensemble/critic/")
    if path == "log_temp":
        return "log_alpha"
    if path.startswith("task_embedding"):
        return "embedding"
    if net == "actor" and path.startswith("Dense_"):
        return path.replace("Dense_0", "mean").replace("Dense_1", "log_std")
    path = path.removeprefix("BroNet_0/")
    if not path.startswith("BronetBlock_"):
        return path.replace("Dense_0", "input").replace("LayerNorm_0", "input_norm").replace("Dense_1", "output")
    return path.replace("BronetBlock_", "block").replace("Dense_", "dense").replace("LayerNorm_", "norm")


def fill(tree, name_of):
    """The tree with every leaf taken from our tensors, in the shape that flax gave it."""
    (tree_util,) = need("jax.tree_util")

    def take(path, leaf):
        value = name_of("/".join(k.key for k in path))
        if value.size != leaf.size or (leaf.ndim and value.shape != leaf.shape):
            sys.exit(f"{path}: {value.shape} and {leaf.shape}")
        return value.reshape(leaf.shape)

    return tree_util.tree_map_with_path(take, tree)


def build(run):
    """The actor, and the shapes of all parameters as flax names them."""
    (jax,) = need("jax")
    Actor, Critic, Temperature = modules()
    c, t = run.config, run.tensors
    actions, tasks = t["actor/mean/kernel"].shape[1], len(run.tasks)
    inputs, key = t["actor/input/kernel"].shape[0], jax.random.PRNGKey(0)
    emb = c["embedding_dim"] if tasks > 1 else 0
    actor = Actor(c["actor_width"], c["actor_depth"], actions)
    critic = Critic(tasks, emb, c["ensemble"], c["width"], c["depth"], c["atoms"])
    x = np.zeros((1, inputs), np.float32), np.zeros((1, inputs - emb + actions), np.float32)
    trees = {"actor": jax.eval_shape(actor.init, key, x[0]),
             "critic": jax.eval_shape(critic.init, key, x[1], np.zeros(1, np.int32)),
             "log_alpha": jax.eval_shape(Temperature().init, key)}
    return actor, {net: tree["params"] for net, tree in trees.items()}


def tensor_of(t, net, prefix=""):
    """From flax's path of a parameter to our tensor: parameters, or moments with the prefix "opt/"."""
    def get(path, part=""):
        name = our_name(net, path)
        if net == "log_alpha":
            return t[f"opt/log_alpha/{part}" if part else "log_alpha"]
        return t[f"opt/{net}/{part}/{name}" if part else f"{prefix or net}/{name}"]
    return get


def check_flax(*words):
    for path, data in zip(words[::2], words[1::2]):
        run = brc_run.Run(path)
        obs, task, action, _ = read_data(data)
        actor, trees = build(run)
        params = fill(trees["actor"], tensor_of(run.tensors, "actor"))
        x = run.networks.inputs("critic", task, obs)
        report("flax action", np.asarray(actor.apply({"params": params}, x)), action, 5e-6)


def check_flax_golden(*paths):
    (jax,) = need("jax")
    Actor = modules()[0]
    for path in paths:
        t, meta = brc_run.read_safetensors(path)
        networks = brc_run.Networks(t, prefix="init/")
        obs, task = t["update0/batch/obs"], t["update0/batch/task"]
        x = networks.inputs("critic", task, obs)
        actor = Actor(int(meta["width_actor"]), int(meta["depth_actor"]), int(meta["action_dim"]))
        tree = jax.eval_shape(actor.init, jax.random.PRNGKey(0), x)["params"]
        params = fill(tree, tensor_of(t, "actor", "init/actor"))
        report("flax action", np.asarray(actor.apply({"params": params}, x)), networks.action(obs, task), 2e-5)


def write(*words):
    flax, optax = need("flax", "optax")
    from typing import Any

    @flax.struct.dataclass
    class State:
        params: Any
        opt_state: Any = None

    makers = {"actor": optax.adamw(3e-4), "critic": optax.adamw(3e-4), "log_alpha": optax.adam(3e-4, b1=0.5)}
    files = {"actor": "actor.txt", "critic": "critic.txt", "log_alpha": "temp.txt"}

    def save(folder, name, state):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(flax.serialization.to_bytes(state))

    for path, folder in zip(words[::2], words[1::2]):
        run = brc_run.Run(path)
        t, trees = run.tensors, build(run)[1]
        for net, tree in trees.items():
            get = tensor_of(t, net)
            params = fill(tree, get)
            opt = makers[net].init(params)
            adam = opt[0]._replace(count=np.asarray(t[f"opt/{net}/count"][0]),
                                   mu=fill(tree, lambda p, get=get: get(p, "m")),
                                   nu=fill(tree, lambda p, get=get: get(p, "v")))
            save(folder, files[net], State(params, (adam,) + tuple(opt[1:])))
        save(folder, "target_critic.txt", State(fill(trees["critic"], tensor_of(t, "critic", "target"))))
    print("written by flax", flax.__version__)


(np,) = need("numpy")
import brc_run  # noqa: E402

COMMANDS = {"onnx": check_onnx, "numpy": check_numpy, "golden": check_golden, "flax": check_flax,
            "flax-golden": check_flax_golden, "write": write}
if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
