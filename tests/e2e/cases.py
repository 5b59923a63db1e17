"""Which fixture runs with which arguments on which interpreters: the matrix as data. No code that does anything."""
from collections import namedtuple

# since/until: hexversion bounds [since, until). quick: part of the quick run. kernel, lldb: also by these ways, with byte-equal results.
# kind: 'exact' holds everything against the truth; 'main' leaves out the totals (there is a second interpreter); 'planted' only
# what the fixture itself knows (a collection is running); 'counts' only the number of unreachable objects (a heap of millions).
# env: of the process, beside the usual.
Case = namedtuple("Case", "program args since until quick kernel lldb kind slow env")


def case(program, *args, since=0, until=1 << 32, quick=False, kernel=False, lldb=False, kind="exact", slow=False, env=None):
    return Case(program, list(args), since, until, quick, kernel, lldb, kind, slow, env or {})


CASES = [
    case("combined", quick=True, kernel=True, lldb=True),
    case("negative", quick=True),
    case("pipes_alias"),
    case("pipes_alias", "60"),
    case("pipes_bound"),
    case("pipes_class_alias"),
    case("self_cycles"),
    case("node_tree"),
    case("node_tree", "500"),
    case("untracked"),
    case("big_payload"),
    case("old_generation"),
    case("weak_references"),
    case("resurrection"),
    case("debug_leak"),
    case("debug_leak", "saveall"),
    case("debug_leak", "none"),
    case("garbage_by_hand", kernel=True),
    case("at_exit"),
    case("thresholds"),
    case("ring"),
    case("ring", "1000"),
    case("deep"),
    case("deep", "--counts", "300000", kind="counts"),
    case("deep", "--counts", "10000000", since=0x030D00F0, until=0x030D00F1, kind="counts", slow=True),
    case("finalizer_order", kernel=True),
    case("hanging_finalizers", kernel=True),
    case("stuck", kernel=True),
    case("old_style"),
    case("files"),
    case("held_elsewhere", kernel=True),
    case("cycle_kinds", kernel=True),
    case("cycle_kinds", since=0x03060000, env={"PYTHONMALLOC": "debug"}),
    case("cycle_kinds", since=0x03060000, env={"PYTHONMALLOC": "malloc"}),
    case("shapes"),
    case("frames"),
    case("classes"),
    case("extension_types"),
    case("threads", kernel=True),
    case("frozen", since=0x03070000),
    case("subinterpreter", kernel=True, kind="main"),
    case("stdlib_mix"),
    case("mid_collection", kind="planted"),
    case("mid_collection", "del", since=0x03040000, kind="planted"),
]

# Fixtures that another program of this folder runs, because they are stopped at moments of their own.
ELSEWHERE = {"churn": "any_moment.py", "phases": "moments.py", "steps": "moments.py", "values": "explain.py",
             "holders": "explain.py", "owned": "explain.py", "numpy_arrays": "explain.py", "heap_use": "heap.py", "scenarios": "scenarios.py", "expectations": "questions.py", "gc_debug": "questions.py",
             "asyncio_tasks": "questions.py", "growth": "questions.py", "holds_gil": "questions.py", "allocation_sites": "questions.py", "resources": "questions.py", "native_stack": "questions.py", "members": "overwritten.py", "odd_questions": "questions.py"}
