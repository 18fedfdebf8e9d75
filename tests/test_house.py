"""The package keeps the rules of its shape, each rule can fail, and `--help` never waits for TensorFlow."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from house import (
    RULES,
    WINGS,
    Module,
    code_in_wings_init,
    commands_of,
    deep_functions,
    foreign_imports_of_config,
    import_circles,
    imports_of_commands,
    long_files,
    long_functions,
    modules_of,
    unused_definitions,
    upward_imports,
)

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule):
    modules = modules_of(ROOT / "tfvae")
    assert {"tfvae", "tfvae.config.config", "tfvae.core.models", "tfvae.train"} <= set(modules)
    complaints = rule(modules)
    assert not complaints, "\n".join(complaints)


def test_no_test_file_is_too_long():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in (ROOT / "tests").rglob("*.py")}
    assert len(lengths) > 20
    too_long = {path: lines for path, lines in lengths.items() if lines > 350}
    assert not too_long, too_long


BROKEN = [  # a rule, a made-up package that breaks it once, and a part of the complaint
    (upward_imports, {"tfvae.core.a": "import tfvae.data.b", "tfvae.data.b": ""}, "core.a:1 imports tfvae.data.b"),
    (upward_imports, {"tfvae.core.a": "def f():\n  from tfvae import flags", "tfvae.flags": ""}, "core.a:2 imports"),
    (upward_imports, {"tfvae.core.a": "from tfvae.runtime import files", "tfvae.runtime.files": ""}, "core.a:1"),
    (upward_imports, {"tfvae.core.a": "from ..training.b import f", "tfvae.training.b": ""}, "tfvae.training.b"),
    (upward_imports, {"tfvae.data.a": "from tfvae import __version__", "tfvae": ""}, "data.a:1 imports tfvae,"),
    (upward_imports, {"tfvae.data.a": "import tfvae.run", "tfvae.run": ""}, "data.a:1 imports tfvae.run"),
    (upward_imports, {"tfvae.serving.a": "import tfvae.analysis.b", "tfvae.analysis.b": ""}, "serving may not"),
    (upward_imports, {"tfvae.training.a": "import tfvae.serving.b", "tfvae.serving.b": ""}, "training may not"),
    (
        upward_imports,
        {"tfvae.serving.a": "from tfvae.training.checkpoints import save", "tfvae.training.checkpoints": ""},
        "serving may not",
    ),
    (upward_imports, {"tfvae.run": "from tfvae.flags import parse", "tfvae.flags": ""}, "run may not"),
    (upward_imports, {"tfvae.config.a": "from tfvae.core import b", "tfvae.core.b": ""}, "config may not"),
    (imports_of_commands, {"tfvae.run": "from tfvae.train import train", "tfvae.train": ""}, "command tfvae.train"),
    (imports_of_commands, {"tfvae.train": "import tfvae.apply", "tfvae.apply": ""}, "the command tfvae.apply"),
    (imports_of_commands, {"tfvae": "def f():\n  from . import train", "tfvae.train": ""}, "tfvae:2 imports"),
    (foreign_imports_of_config, {"tfvae.config.a": "import math\nimport numpy.random"}, "config.a:2 imports numpy"),
    (foreign_imports_of_config, {"tfvae.errors": "from absl import flags"}, "errors:1 imports absl"),
    (import_circles, {"tfvae.a": "import tfvae.b", "tfvae.b": "def f():\n  from tfvae import a"}, "tfvae.a, tfvae.b"),
    (
        import_circles,
        {"tfvae.core.a": "from . import b", "tfvae.core.b": "from .c import x", "tfvae.core.c": "from . import a"},
        "tfvae.core.a, tfvae.core.b, tfvae.core.c",
    ),
    (
        import_circles,
        {"tfvae.core": "from .a import f", "tfvae.core.a": "from tfvae.core import f"},
        "core, tfvae.core.a",
    ),
    (long_files, {"tfvae.core.a": "\n" * 351}, "core.a: 351 lines, more than 350"),
    (long_files, {"tfvae.train": "\n" * 81}, "train: 81 lines, more than 80"),
    (long_functions, {"tfvae.core.a": "class A:\n  def f():\n" + "    x\n" * 60}, "core.a.f: 61 lines"),
    (deep_functions, {"tfvae.core.a": "def f():\n  def g():\n    def h(): pass"}, "core.a.h: a function in"),
    (deep_functions, {"tfvae.core.a": "def f():\n  class A:\n    def g():\n      async def h(): pass"}, "core.a.h"),
    (code_in_wings_init, {"tfvae.core": "from tfvae.core.models import VAE"}, "tfvae.core.__init__ has code"),
    (code_in_wings_init, {"tfvae.data": "def load(): pass\ndef other(): pass"}, "tfvae.data.__init__"),
    (code_in_wings_init, {"tfvae.data": "import tensorflow\ndef load(): pass"}, "tfvae.data.__init__"),
    (
        code_in_wings_init,
        {"tfvae.config": "from tfvae.config.a import b\nfrom tfvae.config.c import d"},
        "tfvae.config.",
    ),
    (unused_definitions, {"tfvae.core.a": "_A = 3\nB = 4\ndef plain_f(): return B"}, "core.a._A is used nowhere"),
    (unused_definitions, {"tfvae.core.a": "def f(): pass", "tfvae.train": "from tfvae.core.a import f"}, "a.f is used"),
    (unused_definitions, {"tfvae.core.a": "class A:\n  def f(self): pass", "tfvae.train": "A()"}, "core.a.f is used"),
]
GOOD = {
    "tfvae": '"""Doc."""\nfrom tfvae.config import Config as Config\n',
    "tfvae.errors": "import os\n",
    "tfvae.config": '"""Doc."""\nfrom tfvae.config.config import Config as Config\n',
    "tfvae.config.config": "from tfvae.errors import InputError\nfrom tfvae.config.rules import refusals\n",
    "tfvae.config.rules": "if TYPE_CHECKING:\n  from tfvae.config.config import Config\n",
    "tfvae.core": "",
    "tfvae.core.models": "import keras\nfrom tfvae.config import Config\nf = lambda: lambda: 0\n",
    "tfvae.data": "from typing import Any\nif TYPE_CHECKING:\n  import numpy\ndef f():\n  import tfvae.data.dataset\n",
    "tfvae.data.dataset": "from tfvae.runtime import files\n" + "\n" * 340,
    "tfvae.runtime": "",
    "tfvae.runtime.files": "from tfvae.errors import InputError\n",
    "tfvae.training": "",
    "tfvae.training.checkpoints": "from tfvae.core.models import VAE\nfrom tfvae import data\ndata.f()\n",
    "tfvae.serving": "",
    "tfvae.serving.a": "from tfvae.training.checkpoints import load_run\n",
    "tfvae.flags": "from absl import flags\nfrom tfvae.config import Config\n",
    "tfvae.run": "from tfvae.training import checkpoints\nfrom tfvae.serving.a import b\n",
    "tfvae.train": "from tfvae import run, flags\n" + "\n" * 75,
    "tfvae.__main__": "import runpy\n",
}


def made_up(sources):
    packages = {name for name in sources if any(other.startswith(f"{name}.") for other in sources)}
    packages |= {f"tfvae.{wing}" for wing in WINGS} | {"tfvae"}
    return {name: Module(source, name in packages) for name, source in sources.items()}


@pytest.mark.parametrize("rule, sources, part", BROKEN)
def test_the_rule_can_fail(rule, sources, part):
    [complaint] = rule(made_up(sources))
    assert part in complaint


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_has_an_example_that_breaks_it_and_one_that_does_not(rule):
    assert rule in [broken for broken, _, _ in BROKEN]
    assert rule(made_up(GOOD)) == []


def test_every_file_that_the_docs_name_exists():
    """Of the package, of the tests and of the benchmarks; a diff names those that it adds."""
    named = re.compile(r"\b(?:tfvae|tests|benchmarks)(?:/\w+)*/\w+\.(?:py|html)\b")
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text_of = {page.name: re.sub(r"(?ms)^```diff\n.*?^```$", "", page.read_text()) for page in pages}
    missing = [
        (page, path) for page, text in text_of.items() for path in named.findall(text) if not (ROOT / path).exists()
    ]
    assert not missing, missing
    assert named.findall("`tests/core/test_a.py`, [x](../tfvae/b.html).") == ["tests/core/test_a.py", "tfvae/b.html"]


LIGHT = """
import runpy, sys

def run(module):
    sys.argv = [module, "--help"]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as exit:
        assert exit.code in (0, None), (module, exit.code)

def check(after):
    heavy = {name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}
    if heavy:
        sys.exit(f"{after} imports {', '.join(sorted(heavy))}")

import tfvae
dir(tfvae)
check("import tfvae")
import tfvae.flags
check("import tfvae.flags")
for command in sys.argv[1:]:
    run(f"tfvae.{command}")
    check(f"tfvae.{command} --help")
print("light")
"""


def test_importing_tfvae_its_flags_and_every_help_do_not_import_tensorflow():
    commands = sorted(commands_of(modules_of(ROOT / "tfvae")))
    assert {"train", "serve"} <= set(commands)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *commands], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "" and done.stdout.endswith("light\n")


def test_what_is_not_light_is_named():
    script = LIGHT.replace("import tfvae\n", "import tfvae\nsys.modules['keras.layers'] = sys\n", 1)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == "import tfvae imports keras\n" and done.returncode == 1
