"""tune.py MB_TRAIN MB_BENCH: kernels that are found by trying, and kept (tensor/autotune.h).

On every Vulkan device there is: what is tried and what is kept; the same file gives the same bits
again, and other bits than none; a run that is resumed keeps the kernels it was begun with, whatever
became of the file; a file that is damaged or of something else is told in one line, and not used.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

from halves import HALF, MODEL, RUN_WITH, call, devices, digests, first_half

# Few kernels to compile: of matmul_direct, and in parts.
FEW = ["--disable", "long-loads", "--disable", "shared-tiles"]


def settings():
    return ["--preset", "tiny"] + sum((["--set", s] for s in MODEL), []) + FEW


def run(line, status=0):
    done = subprocess.run(RUN_WITH + line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == status, (line, done.stderr.decode())
    return done.stdout.decode(), done.stderr.decode()


def plan(mb_train, device):
    out, errors = run([mb_train, "--device", device, "--dry-run", "--json"] + settings())
    return json.loads(out)["products"], errors


def k_of(product):
    return int(product.split()[4])


class Cache:
    """The file of choices, in a cache of this test's own."""

    def __init__(self):
        folder = os.environ["XDG_CACHE_HOME"] + "/megabyte"
        self.path, = [folder + "/" + name for name in os.listdir(folder)
                      if name.endswith(".choices")]
        self.text = open(self.path).read()
        self.read = json.loads(self.text)

    def write(self, text=None, **changes):
        with open(self.path, "w") as f:
            f.write(text if text is not None else json.dumps(dict(self.read, **changes)))

    def remove(self):
        os.remove(self.path)


def check_tried(mb_train, mb_bench, device):
    """mb-bench tune: the rule's way of each product first, then others; what is kept is the
    fastest, or the rule's."""
    out, _ = run([mb_bench, "tune", "--device", device, "--json"] + settings())
    tuned, cache = json.loads(out), Cache()
    assert cache.read["device"] == tuned["device"] and cache.read["driver"] == tuned["driver"]
    kept = {p["product"]: p["way"] for p in tuned["products"]}
    assert cache.read["products"] == kept and all(p["chosen"] for p in tuned["products"])
    for product, way in kept.items():
        trials = [t for t in tuned["trials"] if t["product"] == product]
        assert trials[0]["faster"] and all(t["seconds"] > 0 for t in trials), trials
        assert way in [t["way"] for t in trials], (way, trials)
        assert any("parts" in t["way"] for t in trials) == (k_of(product) >= 256), trials
    planned, errors = plan(mb_train, device)
    assert planned == tuned["products"] and "choices" not in errors, errors
    return cache


def check_bits(mb_train, device, cache):
    """Of forced kernels, with k in parts wherever that can be: other bits than without."""
    forced = {product: "matmul_direct 8 x 8" + (", 2 parts" if k_of(product) >= 128 else "")
              for product in cache.read["products"]}
    assert any("parts" in way for way in forced.values())
    cache.write(products=forced)
    more = FEW + ["--tune"] # nothing is left to try
    for out in ("forced", "again"):
        call(mb_train, device, "fp32", out, more)
    assert json.load(open(cache.path))["products"] == forced
    assert digests("forced") == digests("again")
    with open("forced/checkpoints/%08d/state.json" % HALF) as f:
        assert json.load(f)["state"]["made_on"]["products"] == forced
    cache.remove()
    call(mb_train, device, "fp32", "rule", FEW)
    assert digests("forced") != digests("rule")
    for changed in (None, "{", json.dumps(cache.read)):
        first_half("forced", "half")
        if changed:
            cache.write(changed)
        errors = call(mb_train, device, "fp32", "half", FEW)
        assert "bits may differ" not in errors and digests("half") == digests("forced"), errors
        assert errors.count("damaged") == (changed == "{"), errors
        shutil.rmtree("half")
    cache.write(products=forced)
    first_half("rule", "half")
    errors = call(mb_train, device, "fp32", "half", more)
    assert "bits may differ" not in errors and digests("half") == digests("rule"), errors
    assert "begun with" in errors, errors
    first_half("forced", "moved")
    errors = call(mb_train, "cpu", "fp32", "moved", FEW)
    said = [line for line in errors.splitlines() if "bits may differ" in line]
    assert len(said) == 1 and "device was" in said[0], errors
    assert "products was %d found by trying" % len(forced) in said[0], errors


def check_damage(mb_train, device, cache):
    """What is wrong with a file is one line, and products go by the rule."""
    some = next(iter(cache.read["products"]))
    texts = ["", "x", "[]", "{}", cache.text[:len(cache.text) // 2], "\0" * 100, "[" * 1000]
    whole = [{"format": "other"}, {"version": 2}, {"device": "other"}, {"driver": "other"},
             {"kernels": "0" * 16}, {"products": []}, {"kernels": 1}]
    single = [{some: 1}, {some: "matmul_direct 8 x 9"}, {some: "matmul_direct 8 x 8, 99 parts"},
              {some: "matmul_direct 8 x 8, 1 parts"}, {some: "matmul_direct 8 x 8 "},
              {"1 x 2 x 3": "matmul_direct 8 x 8"}, {"0 x 1 x 1 ab fp32": "matmul_direct 8 x 8"},
              {"65536 x 65536 x 65536 ab fp32": "matmul_direct 8 x 8"},
              {some.replace("fp32", "fp64"): "matmul_direct 8 x 8"}]
    for i, change in enumerate(texts + whole + single):
        if isinstance(change, str):
            cache.write(change)
        else:
            cache.write(**(change if change in whole else {"products": change}))
        products, errors = plan(mb_train, device)
        lines = [line for line in errors.splitlines() if "device:" not in line]
        assert len(lines) == 1 and ("not used" in lines[0] or "left out" in lines[0]), (i, errors)
        assert not any(p["chosen"] or "parts" in p["way"] for p in products), (i, products)
    cache.write("x")
    call(mb_train, device, "fp32", "anew", FEW + ["--tune"])
    assert json.load(open(cache.path))["products"].keys() == cache.read["products"].keys()


def main():
    mb_train, mb_bench = (os.path.realpath(path) for path in sys.argv[1:])
    tried = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["OMP_NUM_THREADS"] = "1"
        run([mb_train, "--tune", "--dry-run"], 2)
        for device in devices("vulkan", mb_train):
            os.mkdir("%s/%d" % (scratch, tried))
            os.chdir("%s/%d" % (scratch, tried))
            os.environ["XDG_CACHE_HOME"] = os.getcwd() + "/cache"
            os.mkdir("data")
            for i in range(8):
                with open("data/%d" % i, "w") as f:
                    f.write("".join("%d\n" % (n * n) for n in range(100 * i, 100 * i + 100)))
            cache = check_tried(mb_train, mb_bench, device)
            check_bits(mb_train, device, cache)
            check_damage(mb_train, device, cache)
            tried += 1
    if not tried:
        print("skipped: no Vulkan device")
        sys.exit(77)
    print("%d devices" % tried)


if __name__ == "__main__":
    main()
