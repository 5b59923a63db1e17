// asyncio: every task of the heap, what each one awaits, and, where that is other tasks, the tree that they form.
#include <algorithm>
#include <map>
#include <set>

#include "core/engine/command.h"
#include "core/objects/async_tasks.h"
#include "core/report/asyncio_report.h"

namespace pygc::engine {
namespace {

using heap::NodeId;
using objects::AsyncTask;

constexpr std::size_t kMaxChain = 100, kMaxElements = 100000;
constexpr const char* kAsCompleted = "as-completed";

class AsyncioCommand {
 public:
  explicit AsyncioCommand(const CommandInput& in) : in_(in), heap_(in.heap), async_(in.reader) {}

  Outcome Run() {
    Outcome outcome;
    outcome.interrupted = !FindTasks();
    AddTimers();
    FindChildren();
    Plant();
    outcome.partial = report_.unreadable > 0;
    outcome.document = Render(in_, in_.header, report_);
    return outcome;
  }

 private:
  struct Child {
    Address task = 0;
    const char* relation = "";
  };

  // Everything that is a task by its type; groups of tasks are noted on the way.
  bool FindTasks() {
    std::vector<bool> is_task(heap_.types.size()), is_group(heap_.types.size()), is_timer(heap_.types.size());
    bool any = false;
    for (std::size_t t = 0; t < heap_.types.size(); ++t) {
      const objects::AsyncKind kind = heap_.types[t].address == 0 ? objects::AsyncKind::kNone : async_.KindOf(heap_.types[t].address);
      is_task[t] = kind == objects::AsyncKind::kTask;
      is_timer[t] = kind == objects::AsyncKind::kTimer;
      is_group[t] = heap_.types[t].name == "asyncio.taskgroups.TaskGroup";
      any = any || is_task[t];
    }
    if (!any) return true;
    bool go_on = true;
    heap_.index.ForEach(0, heap_.size(), [&](NodeId n, Address a) {
      if (n % kProgressStep == 0 && go_on) go_on = in_.progress.Update("looking for tasks", n, heap_.size());
      if (!go_on) return;
      if (is_task[heap_.type[n]]) AddTask(a);
      if (is_group[heap_.type[n]]) groups_.push_back(a);
      if (is_timer[heap_.type[n]]) timers_.push_back(a);
    });
    return go_on;
  }

  void AddTask(Address address) {
    const AsyncTask task = async_.ReadTask(address);
    ++report_.tasks;
    report_.unreadable += !task.readable;
    switch (task.state) {
      case AsyncTask::State::kDone: ++report_.done; return;
      case AsyncTask::State::kWaiting: ++report_.waiting; break;
      case AsyncTask::State::kReady: ++report_.ready; break;
      case AsyncTask::State::kRunning: ++report_.running; break;
    }
    pending_.emplace(address, task);
    const auto loop = std::find_if(report_.loops.begin(), report_.loops.end(), [&](const report::AsyncLoop& l) { return l.address == task.loop; });
    if (loop != report_.loops.end()) {
      ++loop->tasks;
    } else {
      report_.loops.push_back({task.loop, async_.TypeName(task.loop), 1, 0, std::nullopt});
    }
  }

  void AddTimers() {
    const auto keep_first = [](std::optional<double>& first, double due) { first = first ? std::min(*first, due) : due; };
    for (const Address handle : timers_) {
      const objects::AsyncTimer timer = async_.ReadTimer(handle);
      if (timer.cancelled || !timer.scheduled) continue;
      const auto loop = std::find_if(report_.loops.begin(), report_.loops.end(), [&](const report::AsyncLoop& l) { return l.address == timer.loop; });
      if (loop != report_.loops.end()) {
        ++loop->timers;
        if (timer.due) keep_first(loop->next_due, *timer.due);
      }
      if (!timer.due) continue;
      if (timer.wakes != 0) keep_first(due_[timer.wakes], *timer.due);
      if (timer.limits != 0) keep_first(timeouts_[timer.limits], *timer.due);
    }
  }

  void FindChildren() {
    for (const auto& [address, task] : pending_) {
      chains_[address] = async_.Chain(task.coroutine, kMaxChain);
      if (task.waiter == 0) continue;
      Add(address, task.waiter, "awaits");
      if (async_.TypeName(task.waiter) == "asyncio.tasks._GatheringFuture") AddAll(address, async_.Attribute(task.waiter, "_children"), "gather");
      AddWaited(address);
    }
    AddByCallbacks();
    for (const Address group : groups_) AddAll(async_.Attribute(group, "_parent_task"), async_.Attribute(group, "_tasks"), "task-group");
  }
  // CPython: wait(), wait_for(), as_completed(), Lib/asyncio/tasks.py: what they wait for has no reference to who waits, but stands in their variables.
  void AddWaited(Address task) {
    for (const objects::AwaitStep& step : chains_[task]) {
      if (!step.frame || !async_.frames().FileName(step.frame->code).ends_with("asyncio/tasks.py")) continue;
      const bool next_done = async_.frames().FunctionName(step.frame->code) == "_wait_for_one";
      for (const objects::FrameSlot& slot : async_.frames().Slots(*step.frame)) {
        if (next_done && slot.name == "self") AddAll(task, async_.Attribute(async_.frames().ValueOf(slot), "_todo"), kAsCompleted);  // [3.13+]
        if (next_done && slot.name == "done") waiting_for_[async_.frames().ValueOf(slot)].insert(task);                            // the queue [<= 3.12]
        if (slot.name != "fs" && slot.name != "fut") continue;
        const Address value = async_.frames().ValueOf(slot);
        Add(task, value, "wait");
        AddAll(task, value, "wait");
      }
    }
  }
  // What only the callbacks of a task lead to: shield() makes a future that the inner task sets, as_completed() a queue that the tasks put themselves into [<= 3.12].
  // CPython: _inner_done_callback() [3.7+], _done_callback() [3.6], _on_completion(), Lib/asyncio/tasks.py. gather() has a _done_callback() too, known by its future.
  void AddByCallbacks() {
    for (const auto& [address, task] : pending_) {
      for (const objects::CallbackCell& cell : async_.CallbackCells(address)) {
        const bool shields = cell.function == "_inner_done_callback" || cell.function == "_done_callback";
        const char* const relation = shields ? "shield" : cell.function == "_on_completion" ? kAsCompleted : nullptr;
        const auto waiting = relation == nullptr ? waiting_for_.end() : waiting_for_.find(cell.content);
        if (waiting == waiting_for_.end()) continue;
        for (const Address parent : waiting->second) Add(parent, address, relation);
      }
    }
  }
  void AddAll(Address parent, Address container, const char* relation) {
    if (container == 0 || !pending_.contains(parent) || pending_.contains(container)) return;
    std::vector<Address> elements = async_.Elements(container, kMaxElements);
    std::sort(elements.begin(), elements.end());  // sets have no order of their own
    for (const Address element : elements) Add(parent, element, relation);
  }
  void Add(Address parent, Address child, const char* relation) {
    if (child != parent && child != 0 && !pending_.contains(child)) waiting_for_[child].insert(parent);
    if (child == parent || !pending_.contains(child)) return;
    if (edges_.insert({parent, child}).second) children_[parent].push_back({child, relation});
    has_parent_.insert(child);
  }

  // Depth first from those that no other one waits for; then from what is left, which wait for each other.
  void Plant() {
    const std::uint64_t limit = in_.request.limit == 0 ? ~std::uint64_t{0} : in_.request.limit;
    struct Item {
      Address task;
      const char* relation;
      std::uint32_t depth;
    };
    std::set<Address> shown;
    const auto grow = [&](Address root) {
      std::vector<Item> work = {{root, "", 0}};
      while (!work.empty()) {
        const Item item = work.back();
        work.pop_back();
        const bool repeated = !shown.insert(item.task).second;
        const auto below = children_.find(item.task);
        const std::size_t count = below == children_.end() ? 0 : below->second.size();
        if (report_.rows.size() < limit) {
          report_.rows.push_back(RowOf(item.task, item.relation, item.depth, repeated, count));
        } else {
          report_.left_out += !repeated;
        }
        for (std::size_t i = repeated ? 0 : count; i-- > 0;) work.push_back({below->second[i].task, below->second[i].relation, item.depth + 1});
      }
    };
    for (const auto& [address, task] : pending_) {
      if (!has_parent_.contains(address)) grow(address);
    }
    for (const auto& [address, task] : pending_) {
      if (!shown.contains(address)) grow(address);
    }
  }

  [[nodiscard]] report::AsyncTaskRow RowOf(Address address, const char* relation, std::uint32_t depth, bool repeated, std::size_t children) const {
    const AsyncTask& task = pending_.at(address);
    report::AsyncTaskRow row;
    row.depth = depth;
    row.relation = relation;
    row.address = address;
    row.loop = task.loop;
    row.waiter = task.waiter;
    row.type = async_.TypeName(address);
    if (!in_.request.redact) row.name = task.name;  // a text of the program, as names of threads are
    row.state = task.state == AsyncTask::State::kWaiting ? "waiting" : task.state == AsyncTask::State::kReady ? "ready" : "running";
    if (task.waiter != 0) row.waiter_type = async_.TypeName(task.waiter);
    if (const auto due = due_.find(task.waiter); due != due_.end()) row.due = due->second;
    if (const auto timeout = timeouts_.find(address); timeout != timeouts_.end()) row.timeout = timeout->second;
    row.children = children;
    const NodeId n = heap_.index.Find(address);
    row.unreachable = n != heap::kNoNode && in_.verdict.state[n] != analysis::State::kReachable;
    row.repeated = repeated;
    row.complete = task.readable;
    if (repeated) return row;
    for (const objects::AwaitStep& step : chains_.at(address)) row.steps.push_back(StepOf(step));
    return row;
  }
  [[nodiscard]] report::AsyncStep StepOf(const objects::AwaitStep& step) const {
    report::AsyncStep out;
    out.address = step.object;
    out.type = step.type;
    if (!step.frame) return out;
    out.function = async_.frames().FunctionName(step.frame->code);
    out.qualified_name = async_.frames().QualifiedName(step.frame->code);
    out.file = async_.frames().FileName(step.frame->code);
    out.line = step.frame->line;
    return out;
  }

  static constexpr NodeId kProgressStep = 1u << 16;

  const CommandInput& in_;
  const heap::HeapSnapshot& heap_;
  objects::AsyncReader async_;
  report::AsyncioReport report_;
  std::map<Address, AsyncTask> pending_;
  std::map<Address, std::vector<objects::AwaitStep>> chains_;
  std::map<Address, std::vector<Child>> children_;
  std::set<std::pair<Address, Address>> edges_;
  std::set<Address> has_parent_;
  std::map<Address, std::set<Address>> waiting_for_;  // by what is no task itself, a future or a queue: the tasks that wait for it
  std::vector<Address> groups_, timers_;
  std::map<Address, std::optional<double>> due_, timeouts_;  // of what timers set, of tasks that they cancel
};

}  // namespace

Outcome RunAsyncio(const CommandInput& in) { return AsyncioCommand(in).Run(); }

}  // namespace pygc::engine
