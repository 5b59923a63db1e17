// The grammar, once, as a table; CLI11 does the parsing. A row is a command of the contract.
#include "core/engine/command_table.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <memory>

#include "core/engine/similar_names.h"
#include "core/report/escape.h"
#include "core/report/text_writer.h"

namespace pygc::engine {
namespace {

// Which options a command takes, beyond those that all have.
enum Takes : unsigned {
  kLimit = 1u << 0,
  kFilter = 1u << 1,
  kFailOn = 1u << 2,
  kExportFile = 1u << 3,
  kTraverse = 1u << 4,
  kAddress = 1u << 5,
  kAddresses = 1u << 6,
  kValues = 1u << 7,
  kTarget = 1u << 8,
  kAll = 1u << 9,
  kLocals = 1u << 10,
  kBaseline = 1u << 11,
  kShowAll = 1u << 12,
  kPage = 1u << 13,
  kAudit = 1u << 14,
  kQuery = 1u << 15,
  kCsv = 1u << 16,
  kHeapSections = 1u << 17,
  kExpect = 1u << 18,
  kGcDebug = 1u << 19,
  kDrawing = 1u << 20,
  kOld = 1u << 21,
};

struct CommandRow {
  std::string_view name, summary;
  unsigned takes = 0;
  std::string_view description;  // one or more whole sentences, for --help
  std::string_view example_arguments[2];
  std::string_view example_meaning[2];
  std::string_view alias = {};
};

constexpr CommandRow kRows[] = {
    {"status",
     "which interpreter, its collector, and how complete the data is",
     kLimit,
     "Says which CPython it is and how that was found, what each interpreter's collector is doing (generations, counts, thresholds, flags), how many "
     "objects are "
     "tracked, whose referents are exact, and what of the process could not be read.",
     {"status", "status --format json"},
     {"the collector's state, and what is missing from the core", "the same for a script"}},
    {"leaks",
     "what can never be freed and what waits for the collector, grouped, with one cycle each",
     kLimit | kFilter | kFailOn | kBaseline | kAudit | kGcDebug,
     "Replays the collector's verdict: every object that a full collection would find unreachable now, and everything in gc.garbage. Equal "
     "structures are one group, "
     "largest first; each group shows one shortest cycle edge by edge, why it is stuck, what hangs on it, and what would fix it. --format gc-debug prints what the interpreter itself would of a full collection now: the lines of gc.DEBUG_STATS, "
     "DEBUG_COLLECTABLE and DEBUG_UNCOLLECTABLE (2.7: with DEBUG_INSTANCES and DEBUG_OBJECTS), as if no finalizer brought anything back.",
     {"leaks", "leaks --type 'app.*' --limit 0"},
     {"the ten largest groups", "every group that holds an object of a type of package app, with all addresses"}},
    {"cycles",
     "reference cycles: unreachable ones, and reachable ones that would leak",
     kLimit | kFilter,
     "Lists strongly connected components, in which every object reaches every other: first those that nothing reaches any more, then those still in "
     "use.",
     {"cycles", "cycles --type '*Node' --limit 0"},
     {"the largest components of both kinds", "all components that hold an object of such a type"}},
    {"garbage",
     "what lies in gc.garbage and why it is stuck",
     kLimit | kFilter | kFailOn,
     "Lists the items of gc.garbage by type with the reason why they are there: a legacy finalizer, gc.DEBUG_SAVEALL, or put there by hand.",
     {"garbage", "garbage --limit 0 --format json"},
     {"the items by type, and why", "every item, for a script"}},
    {"finalizers",
     "objects with finalizers: pending, run, in cycles, order undefined",
     kLimit | kFilter,
     "Lists objects that run code when they die (__del__, tp_finalize, tp_del): whether it has run, whether the object is unreachable, and where a "
     "cycle leaves the "
     "order undefined. Then generators, coroutines and async generators that have not finished, by the line where they stand; and open files, sockets and "
     "locked locks with the objects that own them.",
     {"finalizers", "finalizers --type 'app.*' --format json"},
     {"by type, unreachable ones first", "only types of package app, for a script"}},
    {"refcounts",
     "audit: objects whose count and found references disagree",
     kLimit | kFilter | kFailOn | kAll | kBaseline,
     "Counts every reference to every object, tracked or not, from the objects, the interpreter's own structures and all native memory, and compares with "
     "ob_refcnt. A deficit: more references than the count, known exactly. A surplus: a count that not even every word of memory that may be a reference "
     "explains. Names who holds each reference, and says how many counts could be judged.",
     {"refcounts", "refcounts --limit 0 --format json"},
     {"wrong counts, deficits first", "all of them, for a script"}},
    {"heap",
     "histogram by type: count, shallow bytes, retained bytes",
     kLimit | kFilter | kCsv | kValues | kHeapSections,
     "Counts the objects of every type, with their bytes as sys.getsizeof() says them and the bytes that they keep alive one by one (by dominators, nothing "
     "counted twice; together they may keep more). Untracked objects are counted where something tracked, a module or a running function leads to them, also by "
     "references that are guessed (unlike sql and export, and said where there are any). Names what keeps more than a fifth of all that is in use. --waste adds empty room in lists, dicts and sets, and equal texts and tuples; --memory adds where the "
     "memory of the process is: blocks and free blocks of CPython's allocator, of malloc, stacks, files (read-only pages of other mapped files only as far as "
     "coredump_filter put them into the core). --by site needs a process in which tracemalloc was on.",
     {"heap --memory --waste", "heap --by site --type __main__.Session"},
     {"where is the memory, and what of it is not used?", "which lines made these objects?"}},
    {"show",
     "one object: type, value, counts, fields, holders",
     kLimit | kAddresses | kValues,
     "Shows what lies at each address: the object's type, its value as repr() would print it (read from memory: nothing runs in the process), reference "
     "count, generation, finalizer, what it refers to and what holds it, each reference with its place. Where no object lies it says what does, and whose memory it is. With "
     "--limit 0 the value is written whole, up to 16,777,216 characters of a text, 200,000 digits of an int and 67 MB in all; beyond that it says so. In a debugger a "
     "variable, a member or a register of the selected frame will do for an address, here and in the commands below: show op, show $rdi.",
     {"show 0x7f12ab34cd50", "show --limit 0 --format json 139716871310672"},
     {"one object", "nothing cut off, for a script; addresses may be decimal, as id() prints them"}},
    {"value",
     "one line an object: type and value, at once",
     kAddresses,
     "Prints the type and the value of each address as repr() would, cut to a line; where no object lies it says what does (with --quiet nothing). Needs no object graph, so it answers "
     "at once: what debuggers show beside a variable of type PyObject *.",
     {"value 0x7f12ab34cd50", "value --format json 0x7f12ab34cd50 139716871310672"},
     {"what is it?", "several, for a script"}},
    {"referents",
     "what an object refers to, each reference with its place",
     kLimit | kAddress | kValues,
     "Lists the direct referents of an object, as gc.get_referents() does, with the place of each reference: .attr, ['key'], [3], .__closure__, local x. Behind "
     "these what it holds beside, and no tp_traverse visits: key 'name' of a dict whose keys are all str, .co_consts of code.",
     {"referents 0x7f12ab34cd50", "referents 0x7f12ab34cd50 --limit 0 --show-values"},
     {"the first ten", "all of them, with their values"}},
    {"referrers",
     "what refers to an object, each reference with its place",
     kLimit | kAddress | kValues,
     "Lists everything that holds a reference to an object: other objects, as gc.get_referrers() does, with the place of the reference, and the variables of "
     "running functions, thread states and the interpreter itself.",
     {"referrers 0x7f12ab34cd50", "referrers 0x7f12ab34cd50 --limit 0 --format json"},
     {"the first ten", "all of them, for a script"}},
    {"path",
     "why an object, or all of a type, is alive: shortest paths from roots",
     kLimit | kTarget,
     "Shows the shortest paths by which an object is held: from the variables of running functions, modules, thread states and the interpreter itself, as Python "
     "expressions where they can be written, and names the place where it is stuck. For a type (a name or GLOB) the paths to all of its objects, as one "
     "tree. Weak references do not count. `why` is the same command.",
     {"path 0x7f12ab34cd50", "path app.Session --exclude frame"},
     {"why is it alive?", "why are all of them, apart from what running functions use"},
     "why"},
    {"dominators",
     "who retains how much: the dominator tree, largest first",
     kLimit,
     "Lists the objects that alone keep the most bytes alive: what would be freed if the object were gone. Below each of them the largest parts of what it "
     "keeps (a tenth of it at least, three of each, four deep), and how much more there is; with --limit 0 all, up to the 100,000 that retain most. An object that is reached in two ways belongs to "
     "where the ways part. Then what hangs on each module, on the frames of each thread and on other roots, which adds up to all that is in use.",
     {"dominators", "dominators --limit 0 --format json"},
     {"the ten largest", "every object that only a root holds, for a script"}},
    {"stacks",
     "the Python stack of every thread, with file, line and function",
     kLimit | kLocals | kValues,
     "Lists the threads that the interpreter knows, oldest first, each with the Python functions that it runs, the most recent call first, and the line that "
     "each of them has reached; the lock that a thread waits for and who holds it; threads that wait for each other; of a crash the signal, what was touched, the "
     "place and the objects at hand. With --locals also their variables, with "
     "--show-values these and what they hold, with --native the functions of native code between them.",
     {"stacks", "stacks --locals --show-values"},
     {"what was every thread doing?", "and with which variables"}},
    {"asyncio",
     "tasks as a tree: what each one awaits, and where it hangs",
     kLimit,
     "Lists every task of asyncio that is not done, below the task that waits for it (await, gather, wait, TaskGroup), each with its chain of coroutines, file and "
     "line, down to the future that it waits for. Tasks of every event loop, C and Python ones, whether a loop runs or not.",
     {"asyncio", "asyncio --limit 0 --format json"},
     {"what is every task waiting for?", "all of them, for a script"}},
    {"verify",
     "the heap's own consistency: generation lists, types, counts",
     kLimit | kFailOn | kTraverse,
     "Checks what has to hold in every heap: the collector's lists are whole and lead back, every object has a type, no count is lower than the "
     "references found, gc.garbage holds objects. Says what was checked and what was not. With --traverse also reads every object in two "
     "independent ways, by pygc's own reader of its type and by running the type's tp_traverse in a bounded machine, and lists each difference. With "
     "--types also holds every type with instances to the collector's rules: its tp_traverse visits the type, what holds objects has "
     "Py_TPFLAGS_HAVE_GC and a tp_traverse, tp_dealloc untracks. Each fault names the module and what to change.",
     {"verify", "verify --traverse --format json"},
     {"is the heap damaged?", "do both readers agree on every object? For a script"}},
    {"diff",
     "what grew since another core or saved export, by type and by holder",
     kLimit | kFilter | kOld,
     "Compares with OLD, another core or a database of export --format sqlite: by type, and, where both are of one process, object by object (address, type, size, "
     "references, and against a core content: numbers, texts, buffers) and by holder: whose part of the heap grew, with a path to it. Says so where OLD is of another process or program; then only types are "
     "compared, by name.",
     {"diff core.4700", "diff heap.db --type 'app.*' --limit 0"},
     {"what grew since the older core?", "against a saved export, types of package app"}},
    {"expect",
     "assertions for scripts: what must be gone, how many objects and bytes at most",
     kLimit | kFailOn | kExpect | kBaseline,
     "Checks what a process must look like, several assertions at once. Exit 1 where one is violated, with the shortest path that keeps what should be gone; 3 "
     "where what could not be read leaves it open; 2 where no class has the name. TYPE is a name, the last part of one, or a GLOB of either; of a GLOB that no class is like it warns. Objects that wait for the "
     "collector are not gone. With --baseline an assertion that FILE has as violated, as it was typed, does not fail again, nor --max-unreachable for leaks that FILE has.",
     {"expect --gone app.Session --max-unreachable 0", "expect --max-count app.Node=100 --max-retained app.Cache=64M --format json"},
     {"no session is left, and no garbage waits", "limits on a type's objects and on what they alone keep alive, for a script"}},
    {"export",
     "the object graph for other tools: SQLite, JSON lines, Graphviz, Chrome's developer tools",
     kExportFile,
     "Writes every object that the collector tracks and everything that those reach, with types, sizes, states and all references. The file appears "
     "under its name "
     "only when it is complete, readable by its owner alone. --format dot draws what is around an object or the objects of a type (as graph does); --format "
     "heapsnapshot is for the Memory tab of Chrome's developer tools and for memlab. Where the references of an object are guessed (objects.exact is 0), what only "
     "these lead to is left out, as in sql; heap, dominators and path count it. Where something is missing, the state of what is not known to be in use is NULL.",
     {"export --format sqlite -o heap.db", "export --format jsonl -o heap.jsonl"},
     {"then: sqlite3 heap.db \"select state, count(*) from objects group by 1\"", "one JSON document a line"}},
    {"graph",
     "a drawing of what is around an object, for Graphviz (export --format dot)",
     kDrawing,
     "Writes what refers to an object and what it refers to, a few references far, as a DOT file: cycles red, each reference with its place, each object with its "
     "count and size, and what holds it from outside. For a type its objects; without either what cannot be freed and what waits for the collector.",
     {"graph 0x7f12ab34cd50 -o node.dot", "graph app.Session --depth 2 --fan-out 20"},
     {"then: dot -Tsvg node.dot > node.svg", "all sessions and what is within two references of them, to standard output"}},
    {"sql",
     "SQL over the object graph",
     kLimit | kQuery | kCsv | kValues,
     "Runs one SELECT over the tables of the SQLite export (meta, types, objects, refs (src, dst, label: what tp_traverse visits), owned_refs (the same columns: what objects "
     "hold beside, as keys of dicts and constants of code), roots, refcount_findings, and where tracemalloc was on allocations (object_id, address, "
     "bytes, domain, traceback_id) and tracebacks (id, depth, file, line)) without writing them anywhere, and over all_refs (refs and owned_refs), "
     "dominators (object_id, dominator_id, retained, retained_objects), referrers (object_id, referrer_id, referrer_address, referrer_type, label), frames "
     "(thread, depth, function, file, line, ...) and strings (object_id, address, length, digest, value). objects has the name of the type too, as a column type that is not part of *. Lookups by objects.id, .address, .type_id, refs.src and "
     "refs.dst are quick. What only guessed references lead to (of objects whose exact is 0) is not among the objects, as in export; heap, dominators and path count "
     "it. Where something is missing, objects.state of what is not known to be in use is NULL. Nothing can be written, attached or loaded.",
     {"sql \"select type, count(*), sum(size) from objects group by type order by 3 desc limit 5\"",
      "sql --format csv --limit 0 \"select * from referrers where object_id = (select id from objects where address = 0x7f12ab34cd50)\""},
     {"the five types with the most bytes", "everything that refers to an object, for a spreadsheet"}},
    {"report",
     "one self-contained HTML page: leaks with drawn cycles, who holds the memory, types, stacks",
     kPage | kAudit,
     "Writes one page that opens from disk without a network: the verdict in words, every kind of leak with its cycle drawn, a treemap of who keeps what alive, "
     "the histogram with search, paths, Python stacks, and what is missing. Its text is readable without scripts.",
     {"report -o report.html", "report --redact -o report.html"},
     {"then open report.html in a browser", "without the keys of containers"}},
    {"triage",
     "one screen for one core: what crashed, Python stacks, collector, leaks, top holders",
     kLimit | kFailOn | kBaseline | kShowAll | kAudit,
     "Says on one screen what crashed (signal, thread, the Python line it had reached), what the other threads ran, what the collector was doing, what "
     "leaks and who holds the memory. Keys and values are hidden unless --show-values. Findings decide the exit status only where --fail-on is given; a crash is "
     "none of them, as it says nothing of the heap: pygc-triage counts it too. "
     "On a terminal each part is as long as its lines allow (24 where the host does not know better); --limit 0, a file and JSON have all. Each finding has a fingerprint that is the same in the next run; --baseline leaves known ones out.",
     {"triage", "triage --format json --fail-on definite"},
     {"what happened to this process?", "the same for a script, exit 1 where something can never be freed"}},
    {"self-test",
     "what works on this machine, and what to change",
     0,
     "Needs no target. Starts each CPython on the PATH with a planted cycle and reads it live, loads the plugin into each debugger, and looks at what decides "
     "whether cores are written and what they hold: limits, kernel.core_pattern, coredump_filter, ptrace rules.",
     {"self-test", "self-test --format json"},
     {"what will work here, in words", "the same for a script"}},
};

const CommandRow* FindRow(std::string_view name) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const CommandRow& r) { return r.name == name; });
  return row == std::end(kRows) ? nullptr : row;
}

std::string CommandList() {
  std::string out;
  for (const CommandRow& row : kRows) {
    out += fmt::format("{}{}", out.empty() ? "" : ", ", row.name);
  }
  return out;
}

// The nearest of `choices`, or empty where none is near enough to be what was meant.
std::string_view Nearest(std::string_view word, const std::vector<std::string>& choices) {
  std::size_t best = std::max<std::size_t>(2, word.size() / 3) + 1;
  std::string_view found;
  for (const std::string& choice : choices) {
    const std::size_t distance = choice.starts_with(word) && word.size() >= 3 ? 0 : EditDistance(word, choice);
    if (distance < best) {
      best = distance;
      found = choice;
    }
  }
  return found;
}

std::string Quoted(std::string_view word) { return fmt::format("'{}'", report::Printable(word.substr(0, 80))); }

// "512M", "4G", "1048576". Powers of 1024, as all tools that take such a limit.
std::optional<std::uint64_t> ParseSize(std::string_view text) {
  std::uint64_t value = 0;
  std::size_t i = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    if (value > (1ull << 50)) return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(text[i] - '0');
  }
  if (i == 0) return std::nullopt;
  std::string unit(text.substr(i));
  for (char& c : unit) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  if (unit.ends_with("IB"))
    unit.resize(unit.size() - 2);
  else if (unit.ends_with("B"))
    unit.resize(unit.size() - 1);
  const std::map<std::string_view, unsigned> shifts = {{"", 0}, {"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}};
  const auto shift = shifts.find(unit);
  if (shift == shifts.end() || value > (1ull << 62) >> shift->second) return std::nullopt;
  return value << shift->second;
}

// What CLI11 stores into before it is checked and becomes a Request.
struct RawOptions {
  std::string format = "text", fail_on = "definite", color = "auto", max_memory, min_size;
  std::vector<std::string> modules;
  std::vector<std::string> gone, max_count, max_retained;
  std::optional<std::uint64_t> max_unreachable;
  bool no_finalizers_pending = false;
  bool help = false;
};

struct Grammar {
  CLI::App app{"", "pygc"};
  RawOptions raw;
  Request request;
  std::map<std::string, CLI::App*> commands;
  bool standalone = false;
};

// All but the one that looks at the machine.
bool NeedsTarget(std::string_view command) { return command != "self-test"; }

std::string Invocation(bool standalone, std::string_view command) {
  return standalone && NeedsTarget(command) ? "pygc -c core.4711 " : "pygc ";
}

constexpr std::uint64_t kUsualFrames = 100;  // of a thread; deeper stacks are shown from both ends
constexpr std::uint64_t kScreenRows = 5;     // groups and holders of triage
constexpr std::uint64_t kUsualQueryRows = 10000;
constexpr double kMostSeconds = 1e9;  // some thirty years

// A number of [least, most]; `what` it is goes into the message. CLI11's own names its bounds with hundreds of digits.
CLI::Validator NumberCheck(const std::string& what, double least, double most) {
  return CLI::Validator(
      [=](std::string& word) {
        double value = 0;
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        if (error == std::errc() && end == word.data() + word.size() && value >= least && value <= most) return std::string();
        return fmt::format("{} is not {}, {:.0f} to {:.0f}", Quoted(word), what, least, most);
      },
      "");
}

// The name of a file or folder. An empty one, as an unset variable of a shell leaves it, would pass for an option that was not given.
CLI::Validator NameCheck(const std::string& example) {
  return CLI::Validator([=](std::string& word) { return word.empty() ? fmt::format("needs a name, and '' is none: {}", example) : std::string(); }, "");
}

// Where the target's files are: in every host, because a debugger too may have a target whose program is not at its old path.
void AddFileOptions(CLI::App& app, Grammar& g) {
  TargetChoice& t = g.request.target;
  const char* group = "Target";
  app.add_option("-e,--exe", t.open.executable, "the main program's file, where it is not at its old path")->type_name("EXE")->check(NameCheck("-e /usr/bin/python3.12"))->group(group);
  app.add_option("--sysroot", t.open.sysroot, "where the files of the machine that made the core lie")->type_name("DIR")->check(NameCheck("--sysroot /srv/container"))->group(group);
  app.add_option("--debug-dir", t.open.debug_directories, "where separate debug files lie (.build-id/xx/...)")
      ->type_name("DIR")
      ->allow_extra_args(false)
      ->check(NameCheck("--debug-dir /usr/lib/debug"))
      ->group(group);
  app.add_option("--module", g.raw.modules, "use FILE for the module NAME (its path or last part); of several CPythons this one is analysed")
      ->type_name("NAME=FILE")
      ->allow_extra_args(false)
      ->group(group);
  app.add_flag("--trust-file", t.open.trust_file, "use module files whose build-id cannot be verified")->group(group);
  app.add_flag("--resume", g.request.resume, "in a debugger: let the process run again as soon as its memory is copied (pygc -p always does)")->group(group);
}

void AddTargetOptions(CLI::App& app, Grammar& g) {
  TargetChoice& t = g.request.target;
  const char* group = "Target";
  app.add_option("-c,--core", t.core, "a core file (also .zst .lz4 .gz .xz)")->type_name("CORE")->check(NameCheck("-c core.4711"))->group(group);
  app.add_option("-p,--pid", t.pid, "a live process; it stands still only while its memory is copied")
      ->type_name("PID")
      ->check(NumberCheck("a process id", 1, std::numeric_limits<std::int32_t>::max()))
      ->group(group);
  AddFileOptions(app, g);
  app.add_flag("--trust-anon-code", t.trust_anonymous_code, "also run tp_traverse code outside the read-only text of files (JIT)")->group(group);
  app.add_option("--max-pause", t.open.max_pause_seconds, "let a live process run again after MS milliseconds, also where not all of it is copied")
      ->type_name("MS")
      ->check(NumberCheck("a number of milliseconds", 0, kMostSeconds * 1000))
      ->group(group);
  app.add_option("--save", g.request.save_file, "keep what was built from the core in FILE; -c FILE then opens it at once")->type_name("FILE")->check(NameCheck("--save core.pygc"))->group(group);
  app.add_option("--layout", t.layout_file, "structure layouts of a build that pygc does not know")->type_name("FILE")->check(NameCheck("--layout build.layout"))->group(group);
}

void AddCommonOptions(CLI::App& app, Grammar& g) {
  Request& r = g.request;
  const char* group = "Options";
  app.add_option("-o", r.output_file, "write to FILE instead (owner-readable, complete or not at all)")->type_name("FILE")->check(NameCheck("-o report.txt"))->group(group);
  app.add_option("--threads", r.limits.threads, "threads to use (0: one for each core of the machine)")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->group(group);
  app.add_option("--timeout", r.timeout_seconds, "stop after S seconds and print what is known")
      ->type_name("S")
      ->check(NumberCheck("a number of seconds", 0, kMostSeconds))
      ->group(group);
  app.add_option("--max-memory", g.raw.max_memory, "use no more memory than SIZE (512M, 4G)")->type_name("SIZE")->group(group);
  app.add_option("--color", g.raw.color, "auto, always or never")->type_name("WHEN")->check(CLI::IsMember({"auto", "always", "never"}))->group(group);
  app.add_flag("-q,--quiet", r.quiet, "no progress, and no report where nothing reaches --fail-on")->group(group);
  app.add_flag("-h,--help", g.raw.help, "this text")->group(group);
}

void AddDrawing(CLI::App& command, Grammar& g) {
  const char* group = "Options";
  command.add_option("ADDR|TYPE", g.request.arguments, "dot: an address, or a type's name or GLOB")->group("");
  command.add_option("--depth", g.request.depth, "dot: references away from it to draw (default 3)")->type_name("N")->check(CLI::Range(0, 1000))->group(group);
  command.add_option("--fan-out", g.request.fan_out, "dot: references of each object to follow (default 10)")->type_name("N")->check(CLI::Range(1, 1000))->group(group);
  command.add_flag("--redact", g.request.redact, "hide keys, keep shapes")->group(group);
}

void AddExpectations(CLI::App& command, Grammar& g) {
  const char* group = "Options";
  command.add_option("--gone", g.raw.gone, "no object of TYPE is left")->type_name("TYPE")->allow_extra_args(false)->group(group);
  command.add_option("--max-count", g.raw.max_count, "at most N objects of TYPE")->type_name("TYPE=N")->allow_extra_args(false)->group(group);
  command.add_option("--max-unreachable", g.raw.max_unreachable, "at most N objects that wait for the collector")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->group(group);
  command.add_flag("--no-finalizers-pending", g.raw.no_finalizers_pending, "nothing unreachable has a finalizer that has not run")->group(group);
  command.add_option("--max-retained", g.raw.max_retained, "TYPE's objects alone keep at most BYTES alive (K, M, G, T)")
      ->type_name("TYPE=BYTES")
      ->allow_extra_args(false)
      ->group(group);
}

void AddCommand(Grammar& g, const CommandRow& row) {
  CLI::App* command = g.app.add_subcommand(std::string(row.name), std::string(row.summary));
  if (!row.alias.empty()) command->alias(std::string(row.alias));
  g.commands[std::string(row.name)] = command;
  command->set_help_flag();
  command->group("");
  Request& r = g.request;
  const char* group = "Options";
  if (row.takes & kExportFile) {
    command->add_option("--format", g.raw.format, "sqlite, jsonl, dot or heapsnapshot")
        ->type_name("FORMAT")
        ->check(CLI::IsMember({"sqlite", "jsonl", "dot", "heapsnapshot"}))
        ->group(group);
  } else if (!(row.takes & kDrawing)) {  // a drawing is a drawing
    const char* const third = row.takes & kGcDebug ? "gc-debug" : row.takes & kCsv ? "csv" : nullptr;
    const std::vector<std::string> formats = third != nullptr ? std::vector<std::string>{"text", "json", third} : std::vector<std::string>{"text", "json"};
    if (!(row.takes & kPage)) {
      command->add_option("--format", g.raw.format, third != nullptr ? fmt::format("text, json or {}", third) : "text or json")
          ->type_name("FORMAT")
          ->check(CLI::IsMember(formats))
          ->group(group);
    }
    command->add_flag("--redact", r.redact, "hide keys and values, keep shapes")->group(group);
  }
  if (row.takes & (kAddress | kAddresses)) {
    command->add_option("ADDR", r.arguments, "the object's address, 0x... or decimal")->group("");
  }
  if (row.takes & kTarget) {
    command->add_option("ADDR|TYPE", r.arguments, "an address, or a type's name or GLOB")->group("");
    command->add_option("--exclude", r.exclude_globs, "no path through objects of a type like GLOB")->type_name("GLOB")->allow_extra_args(false)->group(group);
  }
  if (row.takes & kValues) command->add_flag("--show-values", r.show_values, "also the values of the objects listed")->group(group);
  if (row.takes & kLocals) command->add_flag("--locals", r.locals, "also the variables of each function")->group(group);
  if (row.takes & kLocals) command->add_flag("--native", r.native, "also the functions of native code, each Python frame in its place among them")->group(group);
  if (row.takes & kQuery) command->add_option("QUERY", r.arguments, "one SELECT")->group("");
  if (row.takes & kLimit)
    command->add_option("--limit", r.limit, (row.takes & kQuery) ? "rows to show (0: all; default 10,000)" : "rows to show, and addresses in each (0: all; default 10)")
        ->type_name("N")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
        ->group(group);
  if (row.takes & kFilter) {
    command->add_option("--type", r.type_globs, "only what holds an object of a type like GLOB")
        ->type_name("GLOB")
        ->allow_extra_args(false)
        ->group(group);
    command->add_option("--generation", r.generation, "only what has an object in generation N (0, 1, 2; 3: the permanent one)")
        ->type_name("N")
        ->check(CLI::Range(0, 3))
        ->group(group);
    command->add_option("--ignore", r.ignore_globs, "leave out what is headed by a type like GLOB")
        ->type_name("GLOB")
        ->allow_extra_args(false)
        ->group(group);
  }
  if (row.takes & kHeapSections) {
    command->add_option("--by", r.by, "rows: type, module, or site (the line that allocated, by tracemalloc)")->type_name("WHAT")->check(CLI::IsMember({"type", "module", "site"}))->group(group);
    command->add_option("--state", r.state, "only objects that are uncollectable, unreachable or reachable")
        ->type_name("STATE")
        ->check(CLI::IsMember({"uncollectable", "unreachable", "reachable"}))
        ->group(group);
    command->add_option("--min-size", g.raw.min_size, "only objects of SIZE bytes or more (100, 4K, 1M)")->type_name("SIZE")->group(group);
    command->add_flag("--waste", r.waste, "also room in containers that nothing is in, and equal texts and tuples")->group(group);
    command->add_flag("--memory", r.memory, "also where the memory of the process is")->group(group);
  }
  if (row.takes & kTraverse) {
    command->add_flag("--types", r.types, "also the types of C code that break the collector's rules")->group(group);
    command->add_flag("--traverse", r.traverse, "also compare the native readers with tp_traverse's own code")->group(group);
  }
  if (row.takes & kAudit) {
    command->add_flag("--audit", r.audit, "also lost objects (leaked references) and cycles that the collector cannot see; takes longer")->group(group);
  }
  if (row.takes & kAll) {
    command->add_flag("--all", r.all, "also the counts that words of native memory explain, each with where these lie, and known leaks")->group(group);
  }
  if (row.takes & kShowAll) command->add_flag("--show-values", r.show_values, "also keys of containers: nothing is redacted")->group(group);
  if (row.takes & kBaseline) {
    command->add_option("--baseline", r.baseline, "leave out findings that FILE has: of pygc-triage --write-baseline, or a JSON report")->type_name("FILE")->group(group);
  }
  if (row.takes & kOld) command->add_option("OLD", r.arguments, "another core, or a database of export --format sqlite")->group("");
  if (row.takes & (kDrawing | kExportFile)) AddDrawing(*command, g);
  if (row.takes & kExpect) AddExpectations(*command, g);
  if (row.takes & kFailOn) {
    command->add_option("--fail-on", g.raw.fail_on, "exit 1 on findings at or above: definite, pending or never")
        ->type_name("SEVERITY")
        ->check(CLI::IsMember({"definite", "pending", "never"}))
        ->group(group);
  }
  AddCommonOptions(*command, g);
  g.standalone ? AddTargetOptions(*command, g) : AddFileOptions(*command, g);
}

// `words`: of a command line; of the commands those that are named in it. Empty: all.
std::unique_ptr<Grammar> BuildGrammar(bool standalone, std::span<const std::string> words = {}) {
  auto g = std::make_unique<Grammar>();
  g->standalone = standalone;
  g->app.set_help_flag();
  g->app.require_subcommand(0, 1);
  if (!standalone) AddFileOptions(g->app, *g);
  if (standalone) {
    AddTargetOptions(g->app, *g);
    g->app.add_option("-x", g->request.script_file, "run the commands in FILE, one a line, on one load (-: standard input)")->type_name("FILE")->check(NameCheck("-x commands.txt"))->group("Options");
    g->app.add_flag("--version", g->request.show_version, "pygc's version")->group("Options");
  }
  AddCommonOptions(g->app, *g);
  const auto is_named = [&](const CommandRow& row) {
    return std::any_of(words.begin(), words.end(), [&](const std::string& w) { return w == row.name || (!row.alias.empty() && w == row.alias); });
  };
  for (const CommandRow& row : kRows) {
    if (words.empty() || is_named(row)) AddCommand(*g, row);
  }
  g->app.allow_extras();
  for (const auto& [name, command] : g->commands) command->allow_extras();
  return g;
}

const CLI::App* ChosenCommand(const Grammar& g) {
  const std::vector<CLI::App*> parsed = g.app.get_subcommands();
  return parsed.empty() ? nullptr : parsed.front();
}

// ---- help ----

void AppendOptions(std::string& out, const CLI::App& app, std::string_view group, std::string_view title) {
  std::string lines;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group() != group) continue;
    std::string name = option->get_name(false, true);
    std::replace(name.begin(), name.end(), ',', ' ');
    const std::string type = option->get_type_name();  // "N:INT in [0 - 7]": the part after the colon is the check's own wording
    const std::string left = "  " + name + (option->get_items_expected_max() > 0 ? " " + type.substr(0, type.find(':')) : "");
    lines += fmt::format("{:<23} {}\n", left, option->get_description());
  }
  if (!lines.empty()) out += fmt::format("\n{}:\n{}", title, lines);
}

std::string Wrapped(std::string_view text, std::size_t width) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    if (column != 0 && column + 1 + word.size() > width) {
      out += '\n';
      column = 0;
    } else if (column != 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  return out;
}

std::string CommandHelp(const Grammar& g, const CommandRow& row) {
  const bool s = g.standalone;
  const char* const arguments = (row.takes & kAddress)     ? " ADDR"
                                : (row.takes & kAddresses) ? " ADDR..."
                                : (row.takes & kTarget)    ? " ADDR|TYPE"
                                : (row.takes & kQuery)     ? " QUERY"
                                : (row.takes & kDrawing)   ? " [ADDR|TYPE]"
                                : (row.takes & kOld)       ? " OLD"
                                                           : "";
  std::string out = fmt::format("pygc {}: {}\n\nusage: pygc {}{}{} [OPTIONS]\n\n{}\n\nExamples:\n", row.name, row.summary,
                                s && NeedsTarget(row.name) ? "-c CORE | -p PID  " : "", row.name, arguments, Wrapped(row.description, 100));
  for (std::size_t i = 0; i < 2; ++i) out += fmt::format("  {}{}\n      {}\n", Invocation(s, row.name), row.example_arguments[i], row.example_meaning[i]);
  const CLI::App& app = *g.commands.at(std::string(row.name));
  AppendOptions(out, app, "Options", "Options");
  AppendOptions(out, app, "Target", "Target");
  if (row.takes & kFailOn) {
    out +=
        "\nExit status: 0 no finding at or above --fail-on, 1 findings, 2 wrong usage, 3 partial data and nothing found, 4 cannot be analysed, 5 not "
        "permitted.\n";
  } else {
    out += "\nExit status: 0 done, 2 wrong usage or output cannot be written, 3 partial data, 4 cannot be analysed, 5 not permitted.\n";
  }
  return out;
}

std::string RootHelp(const Grammar& g) {
  const bool s = g.standalone;
  std::string out =
      "pygc finds what a Python process cannot free: reference cycles, gc.garbage, finalizers. It reads the memory of a core file or of a stopped\n"
      "process; nothing runs in the process and nothing is changed in it. CPython 2.7 and 3.6 to 3.15, x86-64 Linux.\n\n";
  out += s ? "usage: pygc -c CORE COMMAND [OPTIONS]      a core file (-: standard input)\n       pygc -p PID  COMMAND [OPTIONS]      a live process\n"
             "       pygc -c CORE                        a prompt: many commands on one load\n       pygc -c CORE -x FILE                the commands in FILE, one a line\n"
           : "usage: pygc COMMAND [OPTIONS]      works on the selected target\n";
  out += "\nCommands (pygc COMMAND --help says more):\n";
  for (const CommandSummary& c : Commands()) out += fmt::format("  {:<12}{}\n", c.name, c.summary);
  out += fmt::format("\nExamples:\n  {0}leaks\n      what leaks, grouped, with one cycle edge by edge and what would fix it\n", Invocation(s, "leaks"));
  out += s ? "  pygc -p 4711 status\n      a live process: its collector and how complete the data is\n"
           : "  pygc status\n      the collector's state and how complete the data is\n";
  AppendOptions(out, g.app, "Options", "Options");
  AppendOptions(out, g.app, "Target", "Target");
  return out;
}

// ---- errors ----

// Options that other programs have under these names, and what says it here.
constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
    {"--json", "--format json"}, {"--csv", "--format csv"},     {"--output", "-o FILE"},        {"--out", "-o FILE"},        {"--file", "-o FILE"},
    {"--html", "report -o FILE"}, {"--sqlite", "--format sqlite"}, {"--no-color", "--color never"}, {"--no-colour", "--color never"}, {"--colour", "--color"},
    {"--top", "--limit N"},      {"--count", "--limit N"},      {"--max", "--limit N"},         {"-n", "--limit N"},         {"--jobs", "--threads N"},
    {"-j", "--threads N"},       {"--filter", "--type GLOB"},   {"--values", "--show-values"},  {"--verbose", "--limit 0, which shows everything"},
    {"--exclude", "--ignore GLOB"}, {"--memory", "--max-memory SIZE"}, {"-v", "--version"},      {"-V", "--version"},
};

// "; did you mean ...?", or nothing where nothing is near. An option that the command has not is no answer.
std::string OptionHint(const std::string& name, const std::vector<std::string>& known) {
  const auto has = [&](std::string_view word) { return std::find(known.begin(), known.end(), word) != known.end(); };
  for (const auto& [other, ours] : kOtherNames) {
    const std::string_view option = ours.substr(0, ours.find_first_of(" ,"));
    if (name == other && (!option.starts_with("--") || has(option))) return fmt::format("; did you mean {}?", ours);
  }
  // Of options only what differs in a letter or two: half a word is another option.
  std::size_t best = name.size() < 8 ? 2 : 3;
  std::string_view nearest;
  for (const std::string& choice : known) {
    const std::size_t distance = choice.starts_with(name) && name.size() >= 5 ? 0 : EditDistance(name, choice);
    if (distance < best) {
      best = distance;
      nearest = choice;
    }
  }
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

// What CLI11 could not place. The words stand in the order typed.
Error ExplainExtras(const Grammar& g, const CLI::App* command, const std::vector<std::string>& extras) {
  const std::string& word = extras.front();
  const auto error = [](std::string message) { return Error{ErrorCode::kUsage, std::move(message), std::nullopt}; };
  if (word.size() > 1 && word[0] == '-') {
    const std::string name = word.substr(0, word.find('='));
    if (!g.standalone) {
      const auto other = BuildGrammar(true);
      if (other->app.get_option_no_throw(name) != nullptr) {
        return error(fmt::format("option {} belongs to the standalone program: here pygc works on the selected target", name));
      }
    }
    if (command != nullptr && command->get_option_no_throw(name) != nullptr) {
      return error(fmt::format("option {0} stands before the command, and is one of {1}: write it after, pygc ... {1} {0}", name, command->get_name()));
    }
    std::vector<std::string> names;
    for (const CLI::App* app : {command, &g.app}) {
      if (app == nullptr) continue;
      for (const CLI::Option* option : app->get_options()) {
        for (const std::string& longer : option->get_lnames()) names.push_back(fmt::format("--{}", longer));
      }
    }
    const std::string where = command ? fmt::format(" of {}", command->get_name()) : "";
    const std::string hint = OptionHint(name, names);
    return error(
        fmt::format("unknown option {}{}{} (pygc {}--help lists them)", Quoted(name), where, hint, command ? command->get_name() + " " : ""));
  }
  if (command != nullptr)
    return error(fmt::format("{} takes no argument {} (pygc {} --help)", command->get_name(), Quoted(word), command->get_name()));
  if (const CommandRow* row = FindRow(word)) {
    return error(fmt::format("command '{}' ({}) is not available in this version; available: {}", row->name, row->summary, CommandList()));
  }
  std::vector<std::string> names;
  for (const CommandRow& row : kRows) {
    names.emplace_back(row.name);
  }
  const std::string_view nearest = Nearest(word, names);
  return error(fmt::format(
      "unknown command {}; {}", Quoted(word),
      nearest.empty() ? fmt::format("commands: {}", CommandList()) : fmt::format("did you mean '{}'? (commands: {})", nearest, CommandList())));
}

// What is wrong where -p or -c has taken the command for its argument: `pygc -p leaks --audit`. Empty where none has.
std::string ForgottenTarget(const Grammar& g, std::span<const std::string> words) {
  if (!g.standalone) return {};
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const bool pid = words[i] == "-p" || words[i] == "--pid";
    if ((!pid && words[i] != "-c" && words[i] != "--core") || FindRow(words[i + 1]) == nullptr) continue;
    return fmt::format("{0} takes {1}, and {2} is a command: pygc {0} {3} {2}", words[i], pid ? "the id of a process" : "a core file", words[i + 1], pid ? "PID" : "CORE");
  }
  return {};
}

// CLI11's words for an option without its argument, "--limit: 1 required N:INT in [0 - 9] missing", in ours.
std::string SimplerWords(const Grammar& g, const CLI::App* command, std::string what) {
  const std::size_t colon = what.find(": ");
  if (colon == std::string::npos || what.find(" required ", colon) == std::string::npos || !what.ends_with(" missing")) return what;
  const std::string name = what.substr(0, colon);
  const CLI::Option* option = command != nullptr ? command->get_option_no_throw(name) : nullptr;
  if (option == nullptr) option = g.app.get_option_no_throw(name);
  if (option == nullptr) return what;
  const std::string type = option->get_type_name();
  return fmt::format("{} needs {}: {}", name, type.substr(0, type.find(':')), option->get_description());
}

// The arguments of commands that take addresses. Errors: kUsage.
Result<void> ReadAddresses(const CommandRow& row, Request& r) {
  if ((row.takes & kTarget) && r.arguments.size() != 1) {
    return Fail(ErrorCode::kUsage, "{0} needs one address or type, for example: {0} 0x7f12ab34cd50, or: {0} app.Session", row.name);
  }
  if ((row.takes & kQuery) && r.arguments.size() != 1) {
    return Fail(ErrorCode::kUsage, "{} needs one query in quotes, for example: sql \"select count(*) from objects\"", row.name);
  }
  if (!(row.takes & (kAddress | kAddresses))) return {};
  if (r.arguments.empty()) {
    return Fail(ErrorCode::kUsage, "{0} needs the address of an object, for example: {0} 0x7f12ab34cd50 (leaks and finalizers list some)", row.name);
  }
  if ((row.takes & kAddress) && r.arguments.size() > 1) return Fail(ErrorCode::kUsage, "{} takes one address, not {}", row.name, r.arguments.size());
  for (const std::string& word : r.arguments) {
    const Result<Address> address = ParseAddress(word);
    if (!address) {
      return Fail(ErrorCode::kUsage, "{}; where it names a type, path {} says what keeps the objects, with addresses", address.error().message, report::Printable(word.substr(0, 80)));
    }
    r.addresses.push_back(*address);
  }
  return {};
}

// "TYPE=N" and "TYPE=BYTES". Errors: kUsage.
Result<void> ReadBounds(const std::vector<std::string>& words, ExpectationKind kind, Request& r) {
  const char* const example = kind == ExpectationKind::kMaxCount ? "app.Node=100" : "app.Cache=64M";
  for (const std::string& word : words) {
    const std::size_t equals = word.rfind('=');
    std::optional<std::uint64_t> bound;
    if (equals != std::string::npos && equals > 0) bound = ParseSize(std::string_view(word).substr(equals + 1));
    if (!bound) return Fail(ErrorCode::kUsage, "--{} {} is not TYPE=NUMBER, for example --{} {}", ExpectationName(kind), Quoted(word), ExpectationName(kind), example);
    r.expectations.push_back({kind, word.substr(0, equals), *bound});
  }
  return {};
}

// What expect asserts, in the order of its options. Errors: kUsage.
Result<void> ReadExpectations(const RawOptions& raw, Request& r) {
  for (const std::string& type : raw.gone) {
    if (type.empty()) return Fail(ErrorCode::kUsage, "--gone needs the name of a type, for example --gone app.Session");
    r.expectations.push_back({ExpectationKind::kGone, type, 0});
  }
  if (Result<void> read = ReadBounds(raw.max_count, ExpectationKind::kMaxCount, r); !read) return read;
  if (raw.max_unreachable) r.expectations.push_back({ExpectationKind::kMaxUnreachable, "", *raw.max_unreachable});
  if (raw.no_finalizers_pending) r.expectations.push_back({ExpectationKind::kNoFinalizersPending, "", 0});
  if (Result<void> read = ReadBounds(raw.max_retained, ExpectationKind::kMaxRetained, r); !read) return read;
  if (r.expectations.empty()) {
    return Fail(ErrorCode::kUsage, "expect needs an assertion: --gone TYPE, --max-count TYPE=N, --max-unreachable N, --no-finalizers-pending, --max-retained TYPE=BYTES");
  }
  return {};
}

// Moves what was typed into the request. Errors: kUsage.
Result<Request> Finish(Grammar& g, const CLI::App* command) {
  Request& r = g.request;
  if (command) {
    r.command = command->get_name();
    if ((r.command == "stacks" || r.command == "asyncio") && command->count("--limit") == 0) r.limit = kUsualFrames;
    if (r.command == "triage" && command->count("--limit") == 0) r.limit = kScreenRows;
    if (r.command == "stacks" && r.show_values) r.locals = true;  // the values are those of the variables
    if (r.command == "sql" && command->count("--limit") == 0) r.limit = kUsualQueryRows;
  }
  r.color = g.raw.color;
  // Standard output, as in most programs; by its other names it would be that of the process that reads the target.
  for (const char* name : {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
    if (r.output_file == name) r.output_file.clear();
  r.format = g.raw.format == "json"     ? Format::kJson
             : g.raw.format == "sqlite" ? Format::kSqlite
             : g.raw.format == "jsonl"  ? Format::kJsonl
             : g.raw.format == "csv"    ? Format::kCsv
             : g.raw.format == "gc-debug" ? Format::kGcDebug
             : g.raw.format == "dot" || r.command == "graph" ? Format::kDot
             : g.raw.format == "heapsnapshot" ? Format::kHeapSnapshot
                                        : Format::kText;
  r.fail_on = g.raw.fail_on == "pending" ? FailOn::kPending : g.raw.fail_on == "never" ? FailOn::kNever : FailOn::kDefinite;
  if (command && r.command == "triage" && command->count("--fail-on") == 0) r.fail_on = FailOn::kNever;
  r.target.open.max_pause_seconds /= 1000.0;
  if (!g.raw.max_memory.empty()) {
    const std::optional<std::uint64_t> size = ParseSize(g.raw.max_memory);
    if (!size || *size == 0)
      return Fail(ErrorCode::kUsage, "--max-memory {} is not a size: give a number with K, M, G or T, for example 4G", Quoted(g.raw.max_memory));
    r.limits.max_memory_bytes = *size;
  }
  if (!g.raw.min_size.empty()) {
    const std::optional<std::uint64_t> size = ParseSize(g.raw.min_size);
    if (!size) return Fail(ErrorCode::kUsage, "--min-size {} is not a size: give a number of bytes, or one with K, M or G, for example 4K", Quoted(g.raw.min_size));
    r.min_size = *size;
  }
  for (const std::string& module : g.raw.modules) {
    const std::size_t equals = module.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == module.size()) {
      return Fail(ErrorCode::kUsage, "--module {} is not NAME=FILE, for example --module libpython3.12.so.1.0=/tmp/libpython3.12.so.1.0",
                  Quoted(module));
    }
    r.target.open.module_files.emplace_back(module.substr(0, equals), module.substr(equals + 1));
  }
  r.target.open.limits = r.limits;
  if (g.standalone && NeedsTarget(r.command) && r.target.core.empty() && r.target.pid == 0) {
    return Fail(ErrorCode::kUsage, "which process? Give a core file or a live one: pygc -c CORE {0}, or pygc -p PID {0}", r.command);
  }
  if (g.standalone && !r.target.core.empty() && r.target.pid != 0) return Fail(ErrorCode::kUsage, "-c and -p exclude each other: one target a run");
  if (!r.save_file.empty() && (r.target.core.empty() || r.target.core == "-")) {
    return Fail(ErrorCode::kUsage, "--save keeps an index beside a core file, which holds the memory: take a core first (gcore PID), then pygc -c core.PID --save core.pygc");
  }
  if (command && r.command == "export" && r.format == Format::kText) {
    return Fail(ErrorCode::kUsage, "export needs --format sqlite or --format jsonl (or dot, heapsnapshot), for example: export --format sqlite -o heap.db");
  }
  if (command && r.command == "export" && r.output_file.empty() && r.format == Format::kSqlite) {
    return Fail(ErrorCode::kUsage, "export --format sqlite needs -o FILE, for example -o heap.db");
  }
  if (command && r.command == "report" && r.output_file.empty()) return Fail(ErrorCode::kUsage, "report needs a file for the page: report -o report.html");
  if (r.format == Format::kGcDebug && (!r.type_globs.empty() || !r.ignore_globs.empty() || r.generation)) {
    return Fail(ErrorCode::kUsage, "--format gc-debug prints the whole collection: it takes no --type, --ignore or --generation");
  }
  if (command && r.command == "export" && r.format != Format::kDot && !r.arguments.empty()) {
    return Fail(ErrorCode::kUsage, "export takes an address or a type only with --format dot; {} is one too many", Quoted(r.arguments[0]));
  }
  if ((r.command == "export" || r.command == "graph") && r.arguments.size() > 1) return Fail(ErrorCode::kUsage, "{} takes one address or type, not {}", r.command, r.arguments.size());
  if (command && r.command == "diff" && r.arguments.size() != 1) return Fail(ErrorCode::kUsage, "diff needs one older core or saved export, for example: diff core.4700");
  if (command && r.command == "expect") {
    if (Result<void> read = ReadExpectations(g.raw, r); !read) return tl::unexpected(read.error());
  }
  if (command) {
    if (Result<void> read = ReadAddresses(*FindRow(r.command), r); !read) return tl::unexpected(read.error());
  }
  return r;
}

}  // namespace

Result<Address> ParseAddress(const std::string& word) {
  const bool hex = word.starts_with("0x") || word.starts_with("0X");
  const std::string_view digits = std::string_view(word).substr(hex ? 2 : 0);
  Address value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
    return Fail(ErrorCode::kUsage, "{} is no address: give it as 0x7f12ab34cd50, or in decimal as id() prints it", Quoted(word));
  }
  return value;
}

std::span<const CommandSummary> Commands() {
  static const std::vector<CommandSummary> commands = [] {
    std::vector<CommandSummary> out;
    for (const CommandRow& row : kRows) {
      out.push_back({row.name, row.summary});
    }
    return out;
  }();
  return commands;
}

std::string FitToTerminal(std::string_view text, unsigned columns) { return report::FitToWidth(text, columns); }

namespace {

// The words that an option takes; empty where it takes others.
std::vector<std::string_view> ValuesOf(const CommandRow& row, std::string_view option) {
  if (option == "--fail-on") return {"definite", "pending", "never"};
  if (option == "--color") return {"auto", "always", "never"};
  if (option == "--generation") return {"0", "1", "2", "3"};
  if (option == "--by") return {"type", "module", "site"};
  if (option == "--state") return {"uncollectable", "unreachable", "reachable"};
  if (option != "--format") return {};
  if (row.takes & kExportFile) return {"sqlite", "jsonl", "dot", "heapsnapshot"};
  if (row.takes & kCsv) return {"text", "json", "csv"};
  return row.takes & kGcDebug ? std::vector<std::string_view>{"text", "json", "gc-debug"} : std::vector<std::string_view>{"text", "json"};
}

const CommandRow* FindRowOrAlias(std::string_view name) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const CommandRow& r) { return r.name == name || (!r.alias.empty() && r.alias == name); });
  return row == std::end(kRows) ? nullptr : row;
}

}  // namespace

std::vector<std::string> Completions(std::span<const std::string> words) {
  const std::string last = words.empty() ? "" : words.back();
  std::vector<std::string> found;
  const auto offer = [&](std::string_view word) {
    if (word.starts_with(last)) found.emplace_back(word);
  };
  const CommandRow* const row = words.empty() ? nullptr : FindRowOrAlias(words[0]);
  if (words.size() < 2) {
    for (const CommandSummary& c : Commands()) offer(c.name);
    for (const char* own : {"help", "quit"}) offer(own);
  } else if (words[0] == "help") {
    for (const CommandSummary& c : Commands()) offer(c.name);
  } else if (row != nullptr && last.starts_with("-")) {
    const std::unique_ptr<Grammar> g = BuildGrammar(false);
    for (const CLI::Option* option : g->commands.at(std::string(row->name))->get_options()) {
      for (const std::string& name : option->get_lnames()) offer("--" + name);
    }
  } else if (row != nullptr) {
    for (const std::string_view value : ValuesOf(*row, words[words.size() - 2])) offer(value);
  }
  std::sort(found.begin(), found.end());
  return found;
}

WordKind KindOfLastWord(std::span<const std::string> words) {
  const CommandRow* const row = words.size() < 2 ? nullptr : FindRowOrAlias(words[0]);
  if (row == nullptr || words.back().starts_with("-")) return WordKind::kGrammar;
  const std::string& before = words[words.size() - 2];
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) { return std::find(names.begin(), names.end(), before) != names.end(); };
  if (is_one_of({"--type", "--ignore", "--exclude", "--gone", "--max-count", "--max-retained"})) return WordKind::kType;
  if (is_one_of({"-o", "--baseline", "-e", "--exe", "--sysroot", "--debug-dir"})) return WordKind::kFile;
  const bool is_argument = !before.starts_with("-") || is_one_of({"--redact", "--show-values", "--quiet", "-q", "--audit"});
  if (is_argument && (row->takes & (kTarget | kDrawing))) return WordKind::kType;
  return is_argument && (row->takes & kOld) ? WordKind::kFile : WordKind::kGrammar;
}

std::string HelpText(std::string_view command) {
  if (!command.empty() && FindRowOrAlias(command) == nullptr) return "";
  std::vector<std::string> words{"help"};
  if (!command.empty()) words.emplace_back(FindRowOrAlias(command)->name);
  const Result<Request> parsed = ParseCommandLine(words, false);
  return parsed ? parsed->help_text : "";
}

namespace {

// A line without fault, by a grammar of the command that it names: that of all commands takes a millisecond to build. nullopt: the whole grammar is needed.
std::optional<Result<Request>> ParseUsual(std::span<const std::string> words, bool standalone) {
  if (words.empty()) return std::nullopt;
  const std::unique_ptr<Grammar> g = BuildGrammar(standalone, words);
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    g->app.parse(reversed);
  } catch (const CLI::ParseError&) {
    return std::nullopt;
  }
  const CLI::App* command = ChosenCommand(*g);
  if (command == nullptr || g->raw.help || g->request.show_version || !g->request.script_file.empty() || !g->app.remaining(true).empty()) return std::nullopt;
  return Finish(*g, command);
}

}  // namespace

Result<Request> ParseCommandLine(std::span<const std::string> words, bool standalone) try {
  if (std::optional<Result<Request>> usual = ParseUsual(words, standalone)) return std::move(*usual);
  const std::unique_ptr<Grammar> g = BuildGrammar(standalone);
  const auto chosen = [&] { return ChosenCommand(*g); };
  const auto help = [&](const CLI::App* command) {
    Request r = g->request;
    r.show_help = true;
    if (command) r.command = command->get_name();
    r.help_text = command ? CommandHelp(*g, *FindRow(command->get_name())) : RootHelp(*g);
    return r;
  };
  // `pygc help [COMMAND]` says the same as --help.
  if (!words.empty() && words[0] == "help") {
    const auto named = words.size() > 1 ? g->commands.find(words[1]) : g->commands.end();
    if (words.size() == 1 || named != g->commands.end()) return help(words.size() == 1 ? nullptr : named->second);
    return tl::unexpected(ExplainExtras(*g, nullptr, {words[1]}));
  }
  std::vector<std::string> reversed(words.rbegin(), words.rend());  // CLI11 takes them from the back
  try {
    g->app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    // --help wins over what is missing or wrong beside it.
    if (g->raw.help || std::any_of(words.begin(), words.end(), [](const std::string& w) { return w == "--help" || w == "-h"; }))
      return help(chosen());
    const CLI::App* command = chosen();
    if (std::string forgotten = ForgottenTarget(*g, words); !forgotten.empty()) return Fail(ErrorCode::kUsage, "{}", forgotten);
    const std::vector<std::string> extras = g->app.remaining(true);
    if (command == nullptr && !extras.empty()) return tl::unexpected(ExplainExtras(*g, command, extras));
    const std::string what = SimplerWords(*g, command, report::Printable(e.what()));
    return Fail(ErrorCode::kUsage, "{} (pygc {}--help)", what, command ? command->get_name() + " " : "");
  }
  const CLI::App* command = chosen();
  if (g->raw.help) return help(command);
  if (g->request.show_version) return g->request;
  const std::vector<std::string> extras = g->app.remaining(true);
  if (!extras.empty()) {
    // A core may bear the name of a command: only what else is wrong shows that it was meant for one.
    if (std::string forgotten = ForgottenTarget(*g, words); !forgotten.empty()) return Fail(ErrorCode::kUsage, "{}", forgotten);
    return tl::unexpected(ExplainExtras(*g, command, extras));
  }
  const bool has_target = !g->request.target.core.empty() || g->request.target.pid != 0;
  if (command == nullptr && !has_target) return Fail(ErrorCode::kUsage, "no command given; commands: {} (pygc --help)", CommandList());
  if (command != nullptr && !g->request.script_file.empty()) return Fail(ErrorCode::kUsage, "-x FILE brings its own commands: leave out {}", Quoted(command->get_name()));
  return Finish(*g, command);
} catch (const std::exception& e) {
  return Fail(ErrorCode::kInternal, "cannot parse the command line: {}", e.what());
}

}  // namespace pygc::engine
