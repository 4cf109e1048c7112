#!/usr/bin/env python3
"""The peer in PyTorch: one BRC update through torch.compile, timed on the GPU that PyTorch finds, else on the CPU.

The same arithmetic, options and JSON as jax_peer.py, in the form that is fast there: both critics as one batched product per layer,
gradients inside the compiled function (torch.func), and on a GPU the `updates` updates of one step captured as one CUDA graph, noise
included. Batches are sampled by numpy from a host replay and copied through pinned memory. What can't be done in a place (a graph,
compiling without a C compiler) is left out, and the JSON says so.

    torch_peer.py --width 4096 --batch 1024 --tasks 4 --obs 223 --act 38 --json
    torch_peer.py --check JAX_PEER.py      from the same state, do both compute the same update? (needs jax, too)

`--precision high` (the default) allows TF32 in float32 products, as JAX does by default on A100 and later; `highest` does not.
`--dtype bfloat16` computes all products in bfloat16; their results are rounded to it, too, where JAX keeps float32.
"""
import argparse, importlib.util, json, os, sys, time
import numpy as np
import torch

ATOMS, VMAX, GAMMA, TAU, EMB = 101, 10.0, 0.99, 0.005, 32
LR, WD = 3e-4, 1e-4
SIZES = dict(width=512, batch=1024, tasks=4, obs=223, act=38, actor_width=256, updates=2, reps=30, capacity=100000)


# ---------------------- Networks: nested dicts of tensors; the critic's have the members in front ---------------------------
def dense(members, inputs, outputs):
    return {"kernel": torch.randn(*members, inputs, outputs) * (2 / inputs) ** 0.5, "bias": torch.zeros(*members, outputs)}


def norm(members, n):
    return {"scale": torch.ones(*members, n), "bias": torch.zeros(*members, n)}


def bronet(members, inputs, width, depth, outputs):
    p = {"input": dense(members, inputs, width), "input_norm": norm(members, width)}
    for b in range(depth):
        p[f"block{b}"] = {name + i: make for i in "01" for name, make in (("dense", dense(members, width, width)), ("norm", norm(members, width)))}
    if outputs:
        p["output"] = dense(members, width, outputs)
    return p


def walk(tree, f, *others):
    if isinstance(tree, dict):
        return {k: walk(v, f, *(o[k] for o in others)) for k, v in tree.items()}
    return f(tree, *others)


def leaves(tree):
    return [x for v in tree.values() for x in leaves(v)] if isinstance(tree, dict) else [tree]


def state_of(args):
    e = EMB if args.tasks > 1 else 0
    critic = {"net": bronet((2,), args.obs + args.act + e, args.width, 2, ATOMS)}
    if e:
        critic["embedding"] = torch.randn(args.tasks, EMB) / EMB**0.5
    w = args.actor_width
    actor = {"trunk": bronet((), args.obs + e, w, 1, 0), "mean": dense((), w, args.act), "log_std": dense((), w, args.act)}
    log_alpha = torch.tensor(0.1).log()
    zeros = lambda p: {"m": walk(p, torch.zeros_like), "v": walk(p, torch.zeros_like), "t": torch.zeros(())}
    return {"actor": actor, "critic": critic, "target": walk(critic, torch.clone), "log_alpha": log_alpha,
            "opt_critic": zeros(critic), "opt_actor": zeros(actor), "opt_alpha": zeros(log_alpha)}


# ---------------------- The update ------------------------------------------------------------------------------------------
def make_update(args, device):
    low = torch.bfloat16 if args.dtype == "bfloat16" else None
    atoms = torch.linspace(-VMAX, VMAX, ATOMS, device=device)
    numbers = torch.arange(ATOMS, device=device, dtype=torch.float32)
    dz = 2 * VMAX / (ATOMS - 1)
    multitask = args.tasks > 1

    def affine(x, p):
        k, b = p["kernel"], p["bias"]
        if low:
            x, k = x.to(low), k.to(low)
        if k.dim() == 2:
            return torch.mm(x, k).float() + b
        return torch.bmm(x if x.dim() == 3 else x.expand(k.shape[0], *x.shape), k).float() + b[:, None]

    def layer_norm(x, p):
        mean = x.mean(-1, keepdim=True)
        var = ((x * x).mean(-1, keepdim=True) - mean * mean).clamp_min(0)
        scale, bias = (p[k] if x.dim() == 2 else p[k][:, None] for k in ("scale", "bias"))
        return (x - mean) * (torch.rsqrt(var + 1e-6) * scale) + bias

    def network(p, x, depth):
        h = torch.relu(layer_norm(affine(x, p["input"]), p["input_norm"]))
        for b in range(depth):
            q = p[f"block{b}"]
            r = torch.relu(layer_norm(affine(h, q["dense0"]), q["norm0"]))
            h = h + layer_norm(affine(r, q["dense1"]), q["norm1"])
        return affine(h, p["output"]) if "output" in p else h

    def embed(c, task):
        e = c["embedding"][task]
        return e / e.norm(dim=-1, keepdim=True)

    def values(c, s, a, task):
        return network(c["net"], torch.cat([s, a] + ([embed(c, task)] if multitask else []), -1), 2)

    def seen(c, s, task):
        return torch.cat([s, embed(c, task).detach()], -1) if multitask else s

    def policy(p, x, eps):
        h = network(p["trunk"], x, 1)
        mean = affine(h, p["mean"])
        std = (-10 + 6 * (1 + torch.tanh(affine(h, p["log_std"])))).exp()
        u = mean + std * eps
        logp = (-0.5 * ((u - mean) / std) ** 2 - std.log() - 0.5 * np.log(2 * np.pi)
                - 2 * (np.log(2.0) - u - torch.nn.functional.softplus(-2 * u))).sum(-1)
        return torch.tanh(u), logp

    def target(st, b, eps):
        a, logp = policy(st["actor"], seen(st["critic"], b["next_obs"], b["task"]), eps)
        p = torch.softmax(values(st["target"], b["next_obs"], a, b["task"]), -1).mean(0)
        t = b["reward"][:, None] + GAMMA * b["mask"][:, None] * (atoms - st["log_alpha"].exp() * logp[:, None])
        t = (t.clamp(-VMAX, VMAX) + VMAX) / dz
        low_atom, up_atom = t.floor(), t.ceil()
        to_low, to_up = p * (up_atom + (low_atom == up_atom).float() - t), p * (t - low_atom)
        at = lambda i: (i[..., None] == numbers).float()
        return (to_low[..., None] * at(low_atom) + to_up[..., None] * at(up_atom)).sum(1)

    def adam(p, g, st, b1=0.9, decay=WD):
        st["t"].add_(1)
        c1, c2 = 1 - b1 ** st["t"], 1 - 0.999 ** st["t"]
        for p, g, m, v in zip(*map(leaves, (p, g, st["m"], st["v"]))):
            m.mul_(b1).add_(g, alpha=1 - b1)
            v.mul_(0.999).add_(g * g, alpha=0.001)
            p.sub_(LR * ((m / c1) / ((v / c2).sqrt() + 1e-8) + decay * p))

    def update(st, b, eps_t, eps_a):
        with torch.no_grad():
            wanted = target(st, b, eps_t)

        def critic_loss(c):
            return -(wanted * torch.log_softmax(values(c, b["obs"], b["action"], b["task"]), -1)).sum(-1).mean(-1).sum()

        def actor_loss(p):
            a, logp = policy(p, seen(st["critic"], b["obs"], b["task"]), eps_a)
            q = (atoms * torch.softmax(values(st["critic"], b["obs"], a, b["task"]), -1).mean(0)).sum(-1)
            return (st["log_alpha"].exp() * logp - q).mean(), -logp.mean()

        g, loss_c = torch.func.grad_and_value(critic_loss)(st["critic"])
        with torch.no_grad():
            adam(st["critic"], g, st["opt_critic"])
            for p, t in zip(leaves(st["critic"]), leaves(st["target"])):
                t.lerp_(p, TAU)
        g, (loss_a, entropy) = torch.func.grad_and_value(actor_loss, has_aux=True)(st["actor"])
        with torch.no_grad():
            g_alpha = st["log_alpha"].exp() * (entropy + args.act / 2)
            adam(st["actor"], g, st["opt_actor"])
            adam(st["log_alpha"], g_alpha, st["opt_alpha"], b1=0.5, decay=0.0)
        return torch.stack([loss_c, loss_a, entropy])

    return update


def flops(a):
    """2 M N K of every product that an update needs, as jax_peer.py and brc bench update count."""
    e = EMB if a.tasks > 1 else 0
    inputs, hidden, first = a.obs + a.act + e, 4 * a.width**2 + a.width * ATOMS, a.width * (a.obs + a.act + e)
    critic = 4 * a.batch * (4 * (first + hidden) + 2 * hidden + (e + a.act) * a.width)
    inner, seen = 2 * a.actor_width**2 + 2 * a.actor_width * a.act, a.actor_width * (a.obs + e)
    return critic + 2 * a.batch * (3 * (seen + inner) + inner)


# ---------------------- Timing ----------------------------------------------------------------------------------------------
class Replay:
    def __init__(self, args, device):
        rng, rows = np.random.default_rng(0), max(args.capacity // args.tasks, args.batch)
        shape = (args.tasks, rows)
        self.args, self.rng, self.rows, self.cuda = args, rng, rows, device.type == "cuda"
        self.data = dict(obs=rng.standard_normal((*shape, args.obs), dtype=np.float32),
                         next_obs=rng.standard_normal((*shape, args.obs), dtype=np.float32),
                         action=rng.uniform(-1, 1, (*shape, args.act)).astype(np.float32),
                         reward=rng.uniform(0, 1, shape).astype(np.float32), mask=np.ones(shape, np.float32))
        batch = (args.updates, args.batch)
        self.host = {n: torch.empty(*batch, *x.shape[2:], pin_memory=self.cuda) for n, x in self.data.items()}
        self.host["task"] = torch.empty(batch, dtype=torch.int64, pin_memory=self.cuda)
        self.device = {n: torch.empty_like(x, device=device) for n, x in self.host.items()}

    def send(self):
        t, i = np.divmod(self.rng.integers(0, self.args.tasks * self.rows, (self.args.updates, self.args.batch)), self.rows)
        for n, x in self.data.items():
            self.host[n].numpy()[...] = x[t, i]
        self.host["task"].numpy()[...] = t
        for n, x in self.host.items():
            self.device[n].copy_(x, non_blocking=self.cuda)


def captured(step):
    """`step` as one CUDA graph; it has run before."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(args):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    torch.manual_seed(0)
    torch.set_float32_matmul_precision(args.precision)
    with device:
        st = state_of(args)
    replay, update, notes = Replay(args, device), make_update(args, device), []

    def step_of(update):
        def step():
            for u in range(args.updates):
                b = {n: x[u] for n, x in replay.device.items()}
                noise = [torch.randn(args.batch, args.act, device=device) for _ in range(2)]
                update(st, b, *noise)
        return step

    began = time.perf_counter()
    replay.send()
    eager, step = step_of(update), None
    if args.mode != "eager":
        try:
            options = {} if args.mode == "default" else {"mode": args.mode}
            step = step_of(torch.compile(update, fullgraph=True, dynamic=False, **options))
            step()
            wait()
        except Exception as e:  # no C compiler, no Triton
            notes.append(f"not compiled: {type(e).__name__}: {str(e).strip().splitlines()[0][:200]}")
            step = None
    step = step or eager
    for _ in range(2):
        step()
    wait()
    graph = device.type == "cuda" and args.mode != "reduce-overhead" and not args.no_graph
    if graph:
        try:
            step = captured(step)
        except Exception as e:
            notes.append(f"no CUDA graph: {type(e).__name__}: {str(e).strip().splitlines()[0][:200]}")
            graph = False
    compile_s, times = time.perf_counter() - began, []
    for _ in range(args.reps + 3):
        t0 = time.perf_counter()
        if not args.device_batch:
            replay.send()
        step()
        wait()
        times.append((time.perf_counter() - t0) / args.updates)
    ms = float(np.median(times[3:])) * 1e3
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return dict(peer="torch", torch=torch.__version__, device=name, width=args.width, batch=args.batch, tasks=args.tasks, obs=args.obs,
                act=args.act, dtype=args.dtype, precision=args.precision, mode="eager" if any(n.startswith("not c") for n in notes) else args.mode,
                cuda_graph=graph, notes=notes, compile_s=compile_s, ms_per_update=ms, updates_per_s=1e3 / ms, tflops=flops(args) / ms / 1e9,
                min_ms=float(np.min(times[3:])) * 1e3)


# ---------------------- The check -------------------------------------------------------------------------------------------
def check(args):
    """One update from the state of JAX's peer, by both, in float32 on the CPU; the worst difference of any tensor, relative to its size."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    spec = importlib.util.spec_from_file_location("jax_peer", args.check)
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    args.dtype, args.precision = "float32", "highest"
    init, _, theirs = peer.make(args)
    st, rng = init(jax.random.PRNGKey(0)), np.random.default_rng(0)
    n = args.batch
    b = dict(obs=rng.standard_normal((n, args.obs), np.float32), next_obs=rng.standard_normal((n, args.obs), np.float32),
             action=rng.uniform(-1, 1, (n, args.act)).astype(np.float32), reward=rng.uniform(0, 1, n).astype(np.float32),
             mask=(rng.uniform(0, 1, n) > 0.1).astype(np.float32), task=rng.integers(0, args.tasks, n).astype(np.int32))
    noise = [rng.standard_normal((n, args.act), np.float32) for _ in range(2)]
    ours = walk(jax.tree.map(np.array, st), lambda x: torch.tensor(x, dtype=torch.float32))
    told = make_update(args, torch.device("cpu"))(ours, {k: torch.tensor(x) for k, x in b.items()}, *map(torch.tensor, noise))
    st, losses = theirs(st, b, *noise)
    worst = {}

    def compare(mine, its, path):
        if isinstance(mine, dict):
            return [compare(mine[k], its[k], f"{path}/{k}") for k in mine]
        its = np.asarray(its, np.float32)
        worst[path] = float(np.abs(mine.numpy() - its).max() / (np.abs(its).max() + 1e-12))

    for k in ours:
        compare(ours[k], st[k], k)
    for name, mine, its in zip(("critic_loss", "actor_loss", "entropy"), told, losses):
        compare(mine, its, name)
    # The first step of Adam turns every gradient into its sign: where one is nearly 0, rounding decides. Its moments tell more.
    moved = {k: v for k, v in worst.items() if k.split("/")[0] in ("actor", "critic", "target")}
    rest = max(v for k, v in worst.items() if k not in moved)
    print(f"{len(worst)} tensors, {flops(args)} and {peer.flops(args)} flop; largest relative differences: parameters {max(moved.values()):.1e}, "
          f"moments and losses {rest:.1e}")
    return 0 if rest < 1e-4 and max(moved.values()) < 1e-2 and flops(args) == peer.flops(args) else 1


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in SIZES.items():
        ap.add_argument("--" + name.replace("_", "-"), type=int, default=default)
    ap.add_argument("--precision", choices=["high", "highest"], default="high")
    ap.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    ap.add_argument("--mode", choices=["default", "max-autotune-no-cudagraphs", "reduce-overhead", "eager"], default="default",
                    help="of torch.compile; on a GPU all but reduce-overhead, which makes its own, are captured as one CUDA graph")
    ap.add_argument("--no-graph", action="store_true", help="no CUDA graph")
    ap.add_argument("--device-batch", action="store_true", help="leave the host replay and the copy out")
    ap.add_argument("--check", metavar="JAX_PEER.py", help="compare one update with it")
    ap.add_argument("--json", action="store_true")
    args = ap.parse_args()
    if args.check:
        sys.exit(check(args))
    out = measure(args)
    print(json.dumps(out) if args.json else "\n".join(f"{k:16} {v}" for k, v in out.items()))


if __name__ == "__main__":
    main()
