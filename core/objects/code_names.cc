#include "core/objects/code_names.h"

#include <algorithm>

namespace pygc::objects {
namespace {

using cpython::Field;

constexpr std::size_t kMaxCodeName = 512, kMaxCodeFile = 4096;  // code points
constexpr std::string_view kScope = "<locals>.";                // CPython: compiler_set_qualname(), Python/compile.c

// Stack references of 3.14+ carry tags in the two low bits; object addresses have none there.
constexpr Address kTags = 3;

Address PointerAt(const ObjectReader& reader, Address object, Field field) {
  const cpython::Layout& layout = reader.runtime().layout;
  if (object == 0 || !layout.Has(field)) return 0;
  return reader.process().memory.ReadPointer(object + layout.Offset(field)).value_or(0);
}

Address NameOfCode(const ObjectReader& reader, Address code) {
  const Address qualified = PointerAt(reader, code, Field::PyCodeObject_co_qualname);
  return qualified != 0 ? qualified : PointerAt(reader, code, Field::PyCodeObject_co_name);
}

Address CodeOfFrameObject(const ObjectReader& reader, Address frame) {
  if (const Address code = PointerAt(reader, frame, Field::PyFrameObject_f_code)) return code;
  return PointerAt(reader, PointerAt(reader, frame, Field::PyFrameObject_f_frame), Field::PyInterpreterFrame_f_executable) & ~kTags;
}

CodeNameSource OfFunction(const ObjectReader& reader, Address function) {
  const Address qualified = PointerAt(reader, function, Field::PyFunctionObject_func_qualname);
  return {qualified != 0 ? qualified : PointerAt(reader, function, Field::PyFunctionObject_func_name), PointerAt(reader, function, Field::PyFunctionObject_func_code)};
}

std::string WithoutClasses(const std::string& name) {
  const std::size_t scope = name.rfind(kScope);
  const std::size_t own = scope == std::string::npos ? 0 : scope + kScope.size();
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos || dot < own ? name : name.substr(0, own) + name.substr(dot + 1);
}

}  // namespace

bool HasCodeName(std::string_view type) noexcept {
  constexpr std::string_view kTypes[] = {"function", "method", "instancemethod", "generator", "coroutine", "async_generator", "frame"};
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

CodeNameSource CodeNameSourceOf(const ObjectReader& reader, Address object, std::string_view type) {
  if (!HasCodeName(type)) return {};
  if (type == "function") return OfFunction(reader, object);
  if (type == "method" || type == "instancemethod") {
    const Address function = PointerAt(reader, object, Field::PyMethodObject_im_func);
    const Address function_type = PointerAt(reader, function, Field::PyObject_ob_type);
    const TypeFacts* const facts = function_type == 0 ? nullptr : reader.Type(function_type);
    return facts != nullptr && facts->name == "function" ? OfFunction(reader, function) : CodeNameSource{};
  }
  if (type == "frame") {
    const Address code = CodeOfFrameObject(reader, object);
    return {NameOfCode(reader, code), code};
  }
  const Address qualified = PointerAt(reader, object, Field::PyGenObject_gi_qualname);
  const Address code = PointerAt(reader, object, Field::PyGenObject_gi_code);  // gone from 3.12 on
  return {qualified != 0 ? qualified : NameOfCode(reader, code), code};
}

std::string CodeNameOf(const ObjectReader& reader, const CodeNameSource& source, std::string_view type) {
  std::string text = source.name == 0 ? "" : reader.Text(source.name, kMaxCodeName).value_or("");
  if (type == "function") text = WithoutClasses(text);
  const Address file = PointerAt(reader, source.code, Field::PyCodeObject_co_filename);
  const std::string path = file == 0 ? "" : reader.Text(file, kMaxCodeFile).value_or("");
  if (!path.empty()) text += " " + path.substr(path.rfind('/') + 1);
  std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
  return text;
}

std::string CodeNameOf(const ObjectReader& reader, Address object, std::string_view type) {
  const CodeNameSource source = CodeNameSourceOf(reader, object, type);
  return source == CodeNameSource{} ? std::string() : CodeNameOf(reader, source, type);
}

}  // namespace pygc::objects
