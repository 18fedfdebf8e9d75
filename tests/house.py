"""The rules of the package's shape: floors, imports, sizes. `test_house.py` runs them.

Each rule is a function from modules, {dotted name: Module}, to complaints.
"""

import ast
import sys
from typing import NamedTuple

FLOOR_0 = {"errors", "config", "runtime", "core"}
WINGS = {"config", "runtime", "core", "data", "training", "analysis", "serving"}
NO_COMMANDS = {
    "tfvae",
    "__main__",
    "front_door",
    "run",
    "trained",
    "applied",
    "scores",
    "flags",
    "errors",
}  # all other files at the top are commands
MAY_IMPORT = {  # a part of the package, and the parts beside itself that it may import
    "errors": set(),
    "config": {"errors"},
    "runtime": {"errors"},
    "core": {"errors", "config"},
    "data": FLOOR_0,
    "training": FLOOR_0 | {"data"},
    "analysis": FLOOR_0 | {"data"},
    "serving": FLOOR_0 | {"data"},
    "flags": {"errors", "config", "runtime"},
    "run": {"errors"} | WINGS,
    "trained": {"errors", "run"} | WINGS,
    "applied": {"errors"} | WINGS,
    "scores": {"errors"} | WINGS,
    "front_door": {"errors", "run", "trained", "applied", "scores"} | WINGS,
    "tfvae": {"errors", "front_door"} | WINGS,
    "__main__": {"errors", "run", "trained", "flags", "tfvae"} | WINGS,
}
A_COMMAND_MAY_IMPORT = {"errors", "run", "trained", "applied", "scores", "flags", "tfvae"} | WINGS
LOAD_RUN = ("tfvae.training.checkpoints", "load_run")  # the one thing that wings of floor 2 may share

FOR_USERS = {"tfvae.front_door"}  # who are the ones that call what is defined there
FOR_LIBRARIES = {"test_step", "compile_from_config", "emit"}  # Keras and logging, which call them
# and plain_…, the formula that a fast form must agree with
FOR_TESTS_AND_READERS = {"importance_weighted_bound"}


class Module(NamedTuple):
    source: str
    is_package: bool = False


class Import(NamedTuple):
    module: str  # that is imported
    name: str | None  # that is taken from it
    line: int
    for_types_alone: bool


def modules_of(folder):
    """{dotted name: Module} of the package in this folder."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        modules[".".join(parts[:-1] if is_package else parts)] = Module(path.read_text(), is_package)
    return modules


def imports_of(name, modules):
    """Every import of a module, those inside functions too."""
    tree = ast.parse(modules[name].source)
    of_types = set()
    for node in ast.walk(tree):
        if is_for_types_alone(node):
            of_types.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [Import(alias.name, None, node.lineno, id(node) in of_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, name, modules)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                target = (whole, None) if whole in modules else (base, alias.name)
                imports.append(Import(*target, node.lineno, id(node) in of_types))
    return imports


def is_for_types_alone(node):
    """Whether it is `if TYPE_CHECKING:`, which no running program enters."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") and not node.orelse


def absolute(node, name, modules):
    """The dotted name that `from … import` names, relative ones resolved."""
    if not node.level:
        return node.module
    parts = name.split(".")
    parents = parts[: len(parts) - node.level + modules[name].is_package]
    return ".".join(parents + ([node.module] if node.module else []))


def part_of(name):
    """The wing or file at the top that a module belongs to: `core` for tfvae.core.models, `tfvae` for __init__."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def is_ours(name):
    return name.split(".")[0] == "tfvae"


def commands_of(modules):
    parts = {part_of(name) for name in modules}
    return parts - NO_COMMANDS - WINGS


# The rules.


def upward_imports(modules):
    complaints = []
    for name in modules:
        part = part_of(name)
        allowed = MAY_IMPORT.get(part, A_COMMAND_MAY_IMPORT) | {part}
        for imported in imports_of(name, modules):
            shared = (imported.module, imported.name) == LOAD_RUN and part in ("analysis", "serving")
            if is_ours(imported.module) and part_of(imported.module) not in allowed and not shared:
                complaints.append(f"{name}:{imported.line} imports {imported.module}, and {part} may not")
    return complaints


def imports_of_commands(modules):
    commands = commands_of(modules)
    return [
        f"{name}:{imported.line} imports the command {imported.module}"
        for name in modules
        for imported in imports_of(name, modules)
        if is_ours(imported.module) and part_of(imported.module) in commands
    ]


def foreign_imports_of_config(modules):
    return [
        f"{name}:{imported.line} imports {imported.module}, which is not in the standard library"
        for name in modules
        if part_of(name) in ("config", "errors")
        for imported in imports_of(name, modules)
        if not is_ours(imported.module) and imported.module.split(".")[0] not in sys.stdlib_module_names
    ]


def import_circles(modules):
    """Each circle once, as a chain of names."""
    graph = {
        name: {i.module for i in imports_of(name, modules) if i.module in modules and not i.for_types_alone}
        for name in modules
    }
    reachable = {name: reach(graph, name) for name in graph}
    circles = {frozenset(other for other in reachable[name] if name in reachable[other]) for name in graph}
    return [f"import circle: {', '.join(sorted(circle))}" for circle in circles if circle]


def reach(graph, start):
    """What can be reached from `start` by one import or more."""
    seen, waiting = set(), list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def long_files(modules):
    commands = commands_of(modules)
    complaints = []
    for name, module in modules.items():
        lines, limit = len(module.source.splitlines()), 80 if part_of(name) in commands else 350
        if lines > limit:
            complaints.append(f"{name}: {lines} lines, more than {limit}")
    return complaints


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def long_functions(modules):
    return [
        f"{name}.{node.name}: {node.end_lineno - node.lineno + 1} lines, more than 60"
        for name, module in modules.items()
        for node in ast.walk(ast.parse(module.source))
        if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno + 1 > 60
    ]


def deep_functions(modules):
    complaints = []
    for name, module in modules.items():
        waiting = [(ast.parse(module.source), 0)]  # nodes, and the functions that they are in
        while waiting:
            node, depth = waiting.pop()
            if isinstance(node, FUNCTIONS):
                if depth > 1:
                    complaints.append(f"{name}.{node.name}: a function in a function in a function")
                depth += 1
            waiting += [(child, depth) for child in ast.iter_child_nodes(node)]
    return complaints


def code_in_wings_init(modules):
    """data's may have one function, which imports nothing before it is called; config's one import of its own."""
    complaints = []
    for name, module in modules.items():
        if not module.is_package or part_of(name) not in WINGS:
            continue
        statements = ast.parse(module.source).body
        if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
            statements = statements[1:]
        if name == "tfvae.config":
            allowed = [s for s in statements if isinstance(s, ast.ImportFrom) and s.module.startswith("tfvae.config.")]
        elif name == "tfvae.data":
            light = ("typing", "collections", "tfvae.config", "tfvae.errors")
            imports = [s for s in statements if isinstance(s, ast.ImportFrom) and s.module.startswith(light)]
            functions = [s for s in statements if isinstance(s, ast.FunctionDef)]
            for_types = [s for s in statements if is_for_types_alone(s)]
            allowed = functions[:1] + imports + for_types
        else:
            allowed = []
        if len(statements) > len(allowed) or (name == "tfvae.config" and len(allowed) > 1):
            complaints.append(f"{name}.__init__ has code")
    return complaints


def unused_definitions(modules):
    """Functions, classes, methods and constants that nothing in the package names: it is only tests that would."""
    defined, used = [], set()
    for name, module in modules.items():
        tree = ast.parse(module.source)
        for node in tree.body:
            if isinstance(node, ast.Assign):
                defined += [(name, target.id) for target in node.targets if isinstance(target, ast.Name)]
        for node in ast.walk(tree):
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and name not in FOR_USERS:
                defined.append((name, node.name))
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used.add(node.id)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.add(node.value)  # as getattr and Keras name things
    return [
        f"{name}.{definition} is used nowhere"
        for name, definition in defined
        if definition not in used | FOR_TESTS_AND_READERS | FOR_LIBRARIES
        and not definition.startswith(("__", "plain_"))
    ]


RULES = (
    upward_imports,
    imports_of_commands,
    foreign_imports_of_config,
    import_circles,
    long_files,
    long_functions,
    deep_functions,
    code_in_wings_init,
    unused_definitions,
)
