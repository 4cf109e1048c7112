#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets, small files of every format that libbrc reads: tests/fuzz/seeds.py BRC.

BRC is the built program, which writes the one checkpoint among them; everything else is made here. Inputs that once found a mistake
are kept beside them under the names found-*, which this leaves alone.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds")


def keep(target, name, data):
    folder = os.path.join(HERE, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


# ---- safetensors ----
CODES = {"F32": "f", "F64": "d", "I32": "i", "U8": "B", "I64": "q", "U32": "I", "U64": "Q"}


def safetensors(tensors, meta=None):
    """tensors: {name: (dtype, shape, values or one value)}."""
    header, data = {}, b""
    if meta:
        header["__metadata__"] = {k: str(v) for k, v in meta.items()}
    for name in sorted(tensors):
        dtype, shape, values = tensors[name]
        count = 1
        for n in shape:
            count *= n
        if not isinstance(values, list):
            values = [values] * count
        raw = struct.pack("<%d%s" % (count, CODES[dtype]), *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


# ---- the smallest agent ----
def agent(tasks, obs, act, width=2, ensemble=1, atoms=3, embedding=2):
    emb = embedding if tasks > 1 else 0
    t = {}

    def net(prefix, rows, lead, outputs):
        layers = [("input", rows, width), ("block0/dense0", width, width), ("block0/dense1", width, width)]
        for name, i, o in layers + outputs:
            t["%s%s/kernel" % (prefix, name)] = ("F32", lead + [i, o], 0.25)
            t["%s%s/bias" % (prefix, name)] = ("F32", lead + [o], 0.0)
        for name in ("input_norm", "block0/norm0", "block0/norm1"):
            t["%s%s/scale" % (prefix, name)] = ("F32", lead + [width], 1.0)
            t["%s%s/bias" % (prefix, name)] = ("F32", lead + [width], 0.5)

    net("init/critic/", obs + act + emb, [ensemble], [("output", width, atoms)])
    net("init/actor/", obs + emb, [], [("mean", width, act), ("log_std", width, act)])
    t["init/log_alpha"] = ("F32", [1], -2.0)
    if emb:
        t["init/critic/embedding"] = ("F32", [tasks, emb], 0.5)
    meta = dict(obs_dim=obs, action_dim=act, num_tasks=tasks, width_critic=width, depth_critic=1, width_actor=width,
                depth_actor=1, ensemble=ensemble, num_atoms=atoms, embedding_dim=emb, v_max=10.0, discount=0.99,
                tau=0.005, lr_critic=3e-4, lr_actor=3e-4, lr_alpha=3e-4, adam_beta1=0.9, adam_beta2=0.999,
                adam_eps=1e-8, adam_beta1_alpha=0.5, weight_decay=1e-4, layernorm_eps=1e-6, target_entropy=-0.5)
    return t, meta


def update_case():
    t, meta = agent(1, 2, 1)
    b = 2
    meta.update(batch=b, num_updates=1, thin_stride=7)
    for name, shape in (("obs", [b, 2]), ("next_obs", [b, 2]), ("action", [b, 1]), ("reward", [b]), ("mask", [b])):
        t["update0/batch/" + name] = ("F32", shape, 0.5)
    t["update0/batch/task"] = ("I32", [b], 0)
    for name in ("target", "actor"):
        t["update0/noise/" + name] = ("F32", [b, 1], 0.25)
    t["expect/update0/loss/critic"] = ("F32", [1], 1.0)
    t["expect64/update0/q_logits"] = ("F64", [1, b, 3], 0.1)
    t["expect/final/critic/output/bias"] = ("F32", [1, 3], 0.0)
    t["expect/final/log_alpha"] = ("F32", [1], -2.0)
    return safetensors(t, meta)


def projection():
    t, meta = {}, {"groups": 1, "group0/num_atoms": 3, "group0/rows": 2, "group0/v_max": 10.0, "group0/discount": 0.99}
    t["group0/p"] = ("F32", [2, 3], 1 / 3)
    for name in ("reward", "mask", "alpha_log_prob"):
        t["group0/" + name] = ("F32", [2], 0.5)
    t["group0/target_probs"] = ("F32", [2, 3], 1 / 3)
    return safetensors(t, meta)


def tape():
    t, meta = agent(2, 1, 1)
    b = 2
    meta.update(kind="tape", batch=b, num_updates=1, steps=2, first_step=1, updates_per_step=1, capacity=4,
                start_training=2)
    t["init/replay/insert_index"] = ("I32", [1], 1)
    t["init/replay/size"] = ("I32", [1], 1)
    for name in ("obs", "next_obs", "action"):
        t["init/replay/" + name] = ("F32", [2, 1, 1], 0.5)
    for name in ("reward", "mask"):
        t["init/replay/" + name] = ("F32", [2, 1], 1.0)
    t["init/obs"] = ("F32", [2, 1], 0.5)
    t["init/normalizer/min"] = ("F32", [2], -1.0)
    t["init/normalizer/max"] = ("F32", [2], 2.0)
    t["init/normalizer/rewards/1"] = ("F32", [2], 1.0)
    for k in range(2):
        s = "step%d/" % k
        t[s + "next_obs"] = ("F32", [2, 1], 0.25)
        t[s + "reward"] = ("F32", [2], 1.0)
        t[s + "terminal"] = ("I32", [2], [1, 0])
        t[s + "truncated"] = ("I32", [2], [0, k])
        t[s + "reset_obs/0"] = t[s + "reset_obs/1"] = ("F32", [1], 0.0)
        t["expect/" + s + "action"] = ("F32", [2, 1], 0.1)
    t["step0/random_action"] = ("F32", [2, 1], 0.1)
    t["step1/noise/act"] = ("F32", [2, 1], 0.1)
    t["step1/indices"] = ("I32", [b, 2], [0, 0, 1, 1])
    t["step1/update0/noise/target"] = t["step1/update0/noise/actor"] = ("F32", [b, 1], 0.1)
    t["expect/final/replay/reward"] = ("F32", [2, 3], 1.0)
    t["expect/final/replay/size"] = ("I32", [1], 3)
    return safetensors(t, meta)


def trajectory():
    t = {"t0.action": ("F32", [2, 2], 0.5), "t0.obs": ("F64", [2, 1], 1.0), "t0.reward": ("F64", [2, 1], 1.0),
         "t0.terminated": ("U8", [2], 0), "t0.truncated": ("U8", [2], 0)}
    return safetensors(t, {"spec": json.dumps({"task": "probe-action"})})


# ---- flax's msgpack ----
def text(s):
    return bytes([0xA0 | len(s)]) + s.encode() if len(s) < 32 else bytes([0xD9, len(s)]) + s.encode()


def number(n):
    return bytes([n]) if n < 128 else struct.pack(">BH", 0xCD, n)


def array(shape, value, dtype="float32"):
    count = 1
    for n in shape:
        count *= n
    raw = struct.pack("<%d%s" % (count, "f" if dtype == "float32" else "i"), *[value] * count)
    inner = b"\x93" + bytes([0x90 | len(shape)]) + b"".join(map(number, shape)) + text(dtype)
    inner += struct.pack(">BH", 0xC5, len(raw)) + raw
    return struct.pack(">BHb", 0xC8, len(inner), 1) + inner


def tree(d):
    if isinstance(d, bytes):
        return d
    return bytes([0x80 | len(d)]) + b"".join(text(k) + tree(v) for k, v in d.items())


def flax_net(rows, lead, outputs, w=2):
    def dense(i, o):
        return {"kernel": array(lead + [i, o], 0.25), "bias": array(lead + [o], 0.0)}

    def norm():
        return {"scale": array(lead + [w], 1.0), "bias": array(lead + [w], 0.0)}

    net = {"Dense_0": dense(rows, w), "LayerNorm_0": norm(),
           "BronetBlock_0": {"Dense_0": dense(w, w), "LayerNorm_0": norm(), "Dense_1": dense(w, w),
                             "LayerNorm_1": norm()}}
    if outputs:
        net["Dense_1"] = dense(w, outputs)
    return net


def flax_files():
    def head(o):
        return {"kernel": array([2, o], 0.25), "bias": array([o], 0.0)}

    actor = {"BroNet_0": flax_net(4, [], 0), "Dense_0": head(1), "Dense_1": head(1)}
    critic = {"q_value_ensemble": {"q_value_ensemble": {"critic": flax_net(5, [1], 3)}},
              "task_embedding": {"embeddings": {"embedding": array([2, 2], 0.5)}}}
    temp = {"log_temp": array([], -2.0)}

    def whole(params):
        return tree({"params": params, "opt_state": {"0": {"count": array([], 7, "int32"), "mu": params, "nu": params},
                                                     "1": {}}})

    return whole(actor), whole(critic), tree({"params": critic}), whole(temp)


def in_pieces():
    flat = {"__msgpack_chunked_array__": b"\xc3", "shape": {"0": b"\x02", "1": b"\x02"},
            "chunks": {"0": array([3], 1.0), "1": array([1], 2.0)}}
    return tree({"params": {"kernel": flat, "note": text("a text"), "list": b"\x92\x01\xc0"}})


def main():
    brc = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else sys.exit(__doc__)
    small = {"a": ("F32", [2, 2], 1.5), "b": ("U64", [], 7), "empty": ("U8", [0, 3], [])}
    keep("safetensors", "small", safetensors(small, {"format": "x", "steps": 3}))
    keep("safetensors", "types", safetensors({k: (k, [2], 1) for k in CODES}))
    keep("safetensors", "nothing", safetensors({}))

    config = {"tasks": ["probe-action", "probe-terminal"], "seed": 3, "steps": 1000, "width": 64, "tau": 0.005,
              "embedding_norm": "l1", "quiet": True, "backend": "host", "device": "0", "version": "0.1.0",
              "command_line": ["brc", "train"]}
    keep("config", "run", json.dumps(config))
    keep("config", "benchmark", json.dumps({"tasks": ["dmc-dogs"], "batch": 0, "capacity": 1e6}))
    keep("options", "train", "probe-action\n--width\n64\n--tau=0.01\n--quiet\n--seed\n5e3\n--embedding-norm\nl1")
    keep("options", "wrong", "walker-rum\n--widht\n-1\n--batch\nnan")

    case = {"num_tasks": 2, "steps": 2, "discount": 0.99, "v_max": 10, "target_entropy": -1,
            "rewards": [[1, 2], [3, 4]], "terminal": [[False, True], [0, 0]], "truncated": [[0, 0], [1, 1]],
            "checks": [{"after_step": 1, "alpha": 0.1, "returns_min": ["inf", 2], "returns_max": ["-inf", 4],
                        "denominator": [1, 2], "sample_task": [0, 1], "sample_reward": [1, 2],
                        "sample_normalized": [0.5, 1]}]}
    keep("normalizer", "case", json.dumps({"cases": [case]}))

    for name, data in (("update", update_case()), ("projection", projection()), ("tape", tape()),
                       ("trajectory", trajectory())):
        keep("verify", name, data)

    files = flax_files()
    keep("flax", "actor", files[0])
    keep("flax", "pieces", in_pieces())
    keep("import", "agent", struct.pack("<4H", *map(len, files)) + b"".join(files))
    keep("import", "no_target", struct.pack("<4H", len(files[0]), len(files[1]), 0, len(files[3])) + files[0] + files[1]
         + files[3])

    log = "env_steps,alpha,eval_return/probe-action\n25000,0.1,3.5\n50000,0.2,\n75000,0.2,4"
    train = "env_steps,grad_steps,wall_s,loss/critic\n1000,2000,1.5,4.25\n50000,4000,2.5,\n"
    keep("results", "run", json.dumps({"tasks": ["probe-action"], "width": 64}).encode() + b"\xff" + log.encode() +
         b"\xff" + train.encode())

    npy = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n"
    keep("published", "curve", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(npy)) + npy + struct.pack("<6d", *range(6)))
    npy = b"{'descr': '<f8', 'fortran_order': True, 'shape': (1, 2), }\n"
    keep("published", "wide", b"\x93NUMPY\x02\x00" + struct.pack("<I", len(npy)) + npy + struct.pack("<2d", 1, 2))
    keep("cache", "kernel", b"BRCFUZZ\0" + bytes(32) + b"content1")

    with tempfile.TemporaryDirectory() as scratch:
        run = os.path.join(scratch, "run")
        subprocess.run([brc, "train", "probe-wrap", "--width", "2", "--actor-width", "2", "--depth", "1", "--actor-depth",
                        "1", "--ensemble", "1", "--atoms", "2", "--batch", "2", "--start", "4", "--capacity", "8",
                        "--backend", "host", "--utd", "1", "--threads", "1", "--steps", "30", "--eval-interval", "0",
                        "--quiet", "--run", run], check=True)
        part = {n: open(os.path.join(run, "checkpoint", n), "rb").read()
                for n in ("replay.bin", "logged.bin", "state.safetensors")}
        keep("checkpoint", "run", struct.pack("<2I", len(part["replay.bin"]), len(part["logged.bin"])) +
             part["replay.bin"] + part["logged.bin"] + part["state.safetensors"])


if __name__ == "__main__":
    main()
