// How one repr is written: the state of the text that is being made, and one member a kind of object. Internal to core/objects.
// Depth is bounded by ReprLimits::max_depth (at most kDepthCap whatever is asked for), so recursion here is not recursion over the target's data.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpython/layout.h"
#include "core/cpython/repr_style.h"
#include "core/objects/frames.h"
#include "core/objects/numpy_dtype.h"
#include "core/objects/object_reader.h"
#include "core/objects/repr.h"
#include "core/objects/resources.h"
#include "core/objects/values.h"

namespace pygc::objects {

/// What a Repr prepares once of a target.
struct ReprTarget {
  explicit ReprTarget(const ObjectReader& r)
      : reader(r), layout(r.runtime().layout), style(cpython::ReprStyleOf(layout.version)), offsets(layout), values(r.process().memory, offsets, r.runtime().lookdict), frames(r), resources(r) {}

  const ObjectReader& reader;
  const cpython::Layout& layout;
  cpython::ReprStyle style;
  Offsets offsets;
  Values values;
  FrameReader frames;
  ResourceReader resources;
  [[nodiscard]] bool old() const noexcept { return style.python2; }
};

/// The name of a type without its module: "OrderedDict" of "collections.OrderedDict".
inline std::string_view LastPart(std::string_view name) { return name.substr(name.rfind('.') + 1); }

/// Classes that a lookup of an attribute goes through at most.
inline constexpr std::size_t kMaxMro = 512;

class ReprWriter {
 public:
  using Writer = void (ReprWriter::*)(Address, const TypeFacts&);
  static constexpr std::size_t kDepthCap = 50;

  ReprWriter(const ReprTarget& target, const ReprLimits& limits) : t_(target), limits_(limits) {}
  ReprText Run(Address object);
  ReprText RunDtypeText(Address dtype);
  [[nodiscard]] std::optional<std::uint64_t> Length(Address object, const TypeFacts& type) const;

 private:
  struct Known {
    const char* definer;  // the class whose __repr__ it is, as TypeFacts::name
    Writer write;
  };
  static const Known kKnown[];

  // repr.cc: choice, containers
  void Object(Address object);
  [[nodiscard]] Writer WriterOf(Address object, const TypeFacts& type) const;
  [[nodiscard]] Writer KnownWriter(const std::string& definer) const;
  [[nodiscard]] Writer ClassicInstanceWriter(Address instance) const;
  [[nodiscard]] Writer PythonReprWriter(const TypeFacts& definer) const;
  [[nodiscard]] bool DefinesRepr(Address type, const TypeFacts& facts) const;
  void Default(Address object, const TypeFacts& type);
  void UnknownRepr(Address object, const TypeFacts& type);
  void ClassicInstance(Address object, const TypeFacts& type);
  void Redacted(Address object, const TypeFacts& type);
  bool Enter(Address container, std::string_view recursion);
  void Leave();
  void Items(const std::vector<Address>& items, std::uint64_t count);
  void Entries(Address dict);
  void KeywordEntries(Address dict, bool of_namespace);
  [[nodiscard]] std::vector<Address> Words(Address from, std::uint64_t count);
  [[nodiscard]] std::vector<Address> SetItems(Address set, std::uint64_t* count);
  [[nodiscard]] std::vector<Address> DequeItems(Address deque, std::uint64_t* count);
  [[nodiscard]] std::vector<std::pair<Address, Address>> DictItems(Address dict, std::uint64_t* count);
  [[nodiscard]] std::vector<std::pair<Address, Address>> OldOrderedItems(Address odict);
  [[nodiscard]] std::vector<std::pair<Address, Address>> OrderedItems(Address odict, std::uint64_t* count);
  void List(Address object, const TypeFacts& type);
  void Tuple(Address object, const TypeFacts& type);
  void Dict(Address object, const TypeFacts& type);
  void Set(Address object, const TypeFacts& type);
  void OrderedDict(Address object, const TypeFacts& type);
  void DefaultDict(Address object, const TypeFacts& type);
  void Deque(Address object, const TypeFacts& type);
  void DictView(Address object, const TypeFacts& type);
  void MappingProxy(Address object, const TypeFacts& type);
  void SimpleNamespace(Address object, const TypeFacts& type);
  void NamedTuple(Address object, const TypeFacts& type);
  void StructSequence(Address object, const TypeFacts& type);

  // repr_scalars.cc: texts, numbers, dates
  void None(Address, const TypeFacts&) { Put("None"); }
  void NotImplemented(Address, const TypeFacts&) { Put("NotImplemented"); }
  void Ellipsis(Address, const TypeFacts&) { Put("Ellipsis"); }
  void Bool(Address object, const TypeFacts& type);
  void Int(Address object, const TypeFacts& type);
  void Float(Address object, const TypeFacts& type);
  [[nodiscard]] static std::string ComplexText(double real, double imaginary);
  void Complex(Address object, const TypeFacts& type);
  void Str(Address object, const TypeFacts& type);
  void Bytes(Address object, const TypeFacts& type);
  void ByteArray(Address object, const TypeFacts& type);
  void Range(Address object, const TypeFacts& type);
  void Slice(Address object, const TypeFacts& type);
  void Quoted(std::u32string_view characters);
  void QuotedUnits(const TextUnits& units);
  void QuotedBytes(const std::byte* data, std::uint64_t shown, std::uint64_t length, std::string_view prefix, bool always_escape_single = false);
  void Character(std::uint32_t c, char quote);
  void Date(Address object, const TypeFacts& type);
  void Time(Address object, const TypeFacts& type);
  void DateTime(Address object, const TypeFacts& type);
  void TimeDelta(Address object, const TypeFacts& type);
  void TimeZone(Address object, const TypeFacts& type);
  void Decimal(Address object, const TypeFacts& type);
  void PythonDecimal(Address object, const TypeFacts& type);
  void TimeFields(const std::byte* data, bool fold, Address tzinfo);

  // repr_code.cc: classes, functions, modules, frames, exceptions, what else the interpreter is made of
  void Type(Address object, const TypeFacts& type);
  void ClassicClass(Address object, const TypeFacts& type);
  void Function(Address object, const TypeFacts& type);
  void BuiltinFunction(Address object, const TypeFacts& type);
  void Method(Address object, const TypeFacts& type);
  void OldMethod(Address object);
  [[nodiscard]] std::string OldMethodName(Address callable);
  void MethodWrapper(Address object, const TypeFacts& type);
  void Descriptor(Address object, const TypeFacts& type);
  void StaticMethod(Address object, const TypeFacts& type);
  void Cell(Address object, const TypeFacts& type);
  void Code(Address object, const TypeFacts& type);
  void Frame(Address object, const TypeFacts& type);
  void Generator(Address object, const TypeFacts& type);
  void Module(Address object, const TypeFacts& type);
  bool ModuleBySpec(Address spec);
  bool ModuleByLoader(Address name, Address loader);
  void Exception(Address object, const TypeFacts& type);
  void ExceptionGroup(Address object, const TypeFacts& type);
  void WeakReference(Address object, const TypeFacts& type);
  void Partial(Address object, const TypeFacts& type);
  void EnumType(Address object, const TypeFacts& type);
  /// tp_name: "datetime.datetime" of a type made in C, "DT" of a class.
  [[nodiscard]] std::string NameInC(const TypeFacts& type) const;
  [[nodiscard]] Address Attribute(Address instance, const TypeFacts& type, std::string_view name) const;

  // repr_library.cc: what the standard library wrote in Python or makes for each class, and some of its types in C
  [[nodiscard]] std::string LibraryName(Address function, const TypeFacts& definer, bool may_wrap = true) const;
  [[nodiscard]] bool IsDataclassRepr(Address function) const;
  [[nodiscard]] Writer LibraryWriter(const TypeFacts& definer) const;
  [[nodiscard]] Address ClassAttribute(const TypeFacts& type, std::string_view name, const TypeFacts** owner = nullptr) const;
  [[nodiscard]] std::string ClassName(Address type) const;
  [[nodiscard]] std::string NameSaidBy(Address instance, const TypeFacts& type);
  [[nodiscard]] Address PlainAttribute(Address instance, const TypeFacts& type, std::string_view name) const;
  [[nodiscard]] Address PlainFraction(Address object, const TypeFacts& type, std::string_view name) const;
  void Enum(Address object, const TypeFacts& type);
  void Flag(Address object, const TypeFacts& type);
  void EnumMember(Address object, const TypeFacts& type, bool unnamed);
  [[nodiscard]] std::optional<std::string> FlagNames(Address object, const TypeFacts& type, Address value) const;
  void Dataclass(Address object, const TypeFacts& type);
  void Counter(Address object, const TypeFacts& type);
  void ChainMap(Address object, const TypeFacts& type);
  void UserContainer(Address object, const TypeFacts& type);
  void Fraction(Address object, const TypeFacts& type);
  void Decimals(Address number);
  [[nodiscard]] std::string_view LibraryClass(const TypeFacts& type, std::string_view name) const;
  void Uuid(Address object, const TypeFacts& type);
  void Array(Address object, const TypeFacts& type);
  void ArrayOfText(Address object, const TypeFacts& type, const std::string& name, char code, const TextUnits& units);
  [[nodiscard]] std::string ArrayItem(char code, const std::byte* at) const;
  void Union(Address object, const TypeFacts& type);

  // repr_builtin.cc: types in C whose repr shows members that no traversal visits, and paths
  void Pattern(Address object, const TypeFacts& type);
  void Count(Address object, const TypeFacts& type);
  void Repeat(Address object, const TypeFacts& type);
  void MemoryView(Address object, const TypeFacts& type);
  void GenericAlias(Address object, const TypeFacts& type);
  void AliasItem(Address item);
  void Path(Address object, const TypeFacts& type);
  void Match(Address object, const TypeFacts& type);
  void ContextVariable(Address object, const TypeFacts& type);
  void ContextToken(Address object, const TypeFacts& type);
  void MissingToken(Address, const TypeFacts&) { Put("<Token.MISSING>"); }
  [[nodiscard]] std::optional<std::u32string> Characters(Address str_object) const;
  [[nodiscard]] std::optional<std::u32string> PathText(Address object, const TypeFacts& type, bool windows) const;
  [[nodiscard]] std::optional<std::u32string> JoinedRawPath(Address paths) const;

  // repr_resources.cc: files, sockets, locks, and what threading makes of these
  [[nodiscard]] std::optional<std::uint64_t> MemberOffset(const TypeFacts& type, std::string_view name) const;
  [[nodiscard]] Address Member(Address object, const TypeFacts& type, std::string_view name) const;
  [[nodiscard]] Address FileBelowText(Address object, const TypeFacts& type) const;
  [[nodiscard]] Address FileAttribute(Address object, std::string_view name, bool* known) const;
  void PutPart(std::string_view label, Address value);
  void TextFile(Address object, const TypeFacts& type);
  void BufferedFile(Address object, const TypeFacts& type);
  void RawFile(Address object, const TypeFacts& type);
  void TemporaryFile(Address object, const TypeFacts& type);
  void TemporaryDirectory(Address object, const TypeFacts& type);
  void OldFile(Address object, const TypeFacts& type);
  void RawSocket(Address object, const TypeFacts& type);
  void Socket(Address object, const TypeFacts& type);
  [[nodiscard]] std::optional<std::int32_t> SocketProtocol(Address object) const;
  [[nodiscard]] std::string EnumMemberOf(Address enumeration, std::int64_t number) const;
  void Lock(Address object, const TypeFacts& type);
  void OldRLock(Address object, const TypeFacts& type);
  [[nodiscard]] Address ThreadingAttribute(Address object, const TypeFacts& type, std::string_view owner, std::string_view name) const;
  void Condition(Address object, const TypeFacts& type);
  void Event(Address object, const TypeFacts& type);
  void Semaphore(Address object, const TypeFacts& type);
  void Barrier(Address object, const TypeFacts& type);
  void Thread(Address object, const TypeFacts& type);
  [[nodiscard]] Address ActiveThread(const TypeFacts& type, std::int64_t ident) const;
  [[nodiscard]] bool RunsPython(std::uint64_t thread_id) const;

  // repr_ctypes.cc
  [[nodiscard]] const std::byte* ValueInC(Address object, std::uint64_t bytes) const;
  void SimpleCData(Address object, const TypeFacts& type);
  [[nodiscard]] std::optional<std::string> SimpleValue(Address object, std::string_view codes, bool swapped);
  [[nodiscard]] std::optional<std::string> ValueAt(Address address, std::string_view codes, bool swapped);
  void CharacterPointer(Address object, const TypeFacts& type);
  void Library(Address object, const TypeFacts& type);
  void FunctionInC(Address object, const TypeFacts& type);

  // repr_numpy.cc
  void NumpyItems(Address object, const TypeFacts& type);
  [[nodiscard]] bool NumpyNumber(Address object, const TypeFacts& type);
  void Dtype(Address object, const TypeFacts& type);
  void DtypeText(Address object);
  void DtypeArgument(Address object, bool is_short, bool with_align, int level);
  void DtypeFields(const NumpyDtype& dtype, const std::vector<NumpyField>& fields, bool with_align, int level);
  void DtypeListField(const NumpyField& field, bool is_first, int level);
  void DtypeDict(const NumpyDtype& dtype, const std::vector<NumpyField>& fields, bool with_align, int level);
  [[nodiscard]] bool FieldsArePacked(const NumpyDtype& dtype, const std::vector<NumpyField>& fields) const;

  // Small things for all of them.
  void Put(std::string_view text) {
    if (out_.size() + text.size() > limits_.max_total) {
      full_ = true;
      complete_ = false;
      return;
    }
    out_ += text;
  }
  void PutName(Address str_object);
  void At(Address object);
  void Unreadable() {
    Put("<unreadable>");
    complete_ = false;
  }
  [[nodiscard]] Address Pointer(Address object, cpython::Field field) const {
    return object != 0 && t_.layout.Has(field) ? t_.values.Pointer(object + t_.layout.Offset(field)) : 0;
  }
  [[nodiscard]] std::string Text(Address str_object, std::size_t max = 4096) const;
  [[nodiscard]] const TypeFacts* FactsOf(Address object) const { return t_.reader.Type(t_.values.TypeOf(object)); }
  [[nodiscard]] const std::byte* Bytes(Address a, std::uint64_t n) const { return t_.values.memory().At(a, n); }
  [[nodiscard]] std::uint64_t VarSize(Address object) const;

  const ReprTarget& t_;
  ReprLimits limits_;
  std::string out_;
  std::vector<Address> active_;  // containers that are being written, for recursion marks
  bool complete_ = true, exact_ = true, full_ = false;
};

}  // namespace pygc::objects
