// Classes, functions, modules, frames, exceptions as repr() writes them.
#include <fmt/format.h>

#include "core/objects/repr_writer.h"

namespace pygc::objects {

using cpython::Field;

void ReprWriter::Type(Address object, const TypeFacts&) {
  const TypeFacts* const self = t_.reader.Type(object);
  if (self == nullptr) return Unreadable();
  Put(fmt::format("<{} '{}'>", t_.old() && !self->is_heap_type ? "type" : "class", self->name));
}

// CPython: class_repr(), Objects/classobject.c [2.7].
void ReprWriter::ClassicClass(Address object, const TypeFacts&) {
  const Address dict = Pointer(object, Field::PyClassObject_cl_dict);
  const std::string module = Text(t_.values.DictGet(dict, "__module__"));
  Put(fmt::format("<class {}.{}", module.empty() ? "?" : module, Text(Pointer(object, Field::PyClassObject_cl_name))));
  At(object);
}

void ReprWriter::Function(Address object, const TypeFacts&) {
  Put("<function ");
  PutName(t_.layout.Has(Field::PyFunctionObject_func_qualname) ? Pointer(object, Field::PyFunctionObject_func_qualname)
                                                               : Pointer(object, Field::PyFunctionObject_func_name));
  At(object);
}

// CPython: meth_repr(), Objects/methodobject.c: of a module or of nothing it is a function.
void ReprWriter::BuiltinFunction(Address object, const TypeFacts&) {
  const Address name = Pointer(Pointer(object, Field::PyCFunctionObject_m_ml), Field::PyMethodDef_ml_name);
  const std::string text = name == 0 ? "?" : t_.values.memory().ReadCString(name, 256).value_or("?");
  const Address self = Pointer(object, Field::PyCFunctionObject_m_self);
  const TypeFacts* const type = self == 0 ? nullptr : FactsOf(self);
  if (type == nullptr || type->name == "module") return Put(fmt::format("<built-in function {}>", text));
  Put(fmt::format("<built-in method {} of {} object", text, t_.values.memory().ReadCString(Pointer(type->address, Field::PyTypeObject_tp_name), 256).value_or(type->name)));
  At(self);
}

// CPython: method_repr(), Objects/classobject.c [3.x].
void ReprWriter::Method(Address object, const TypeFacts&) {
  if (t_.old()) return OldMethod(object);
  const Address function = Pointer(object, Field::PyMethodObject_im_func);
  const TypeFacts* const type = FactsOf(function);
  std::string name = "?";
  if (type != nullptr && type->name == "function") {
    name = Text(Pointer(function, Field::PyFunctionObject_func_qualname));
  } else {
    exact_ = false;  // __qualname__ of whatever it is would be asked
  }
  if (!Enter(object, "…")) return;
  Put(fmt::format("<bound method {} of ", name));
  Object(Pointer(object, Field::PyMethodObject_im_self));
  Put(">");
  Leave();
}

// CPython: instancemethod_repr(), Objects/classobject.c [2.7].
void ReprWriter::OldMethod(Address object) {
  const Address function = Pointer(object, Field::PyMethodObject_im_func), self = Pointer(object, Field::PyMethodObject_im_self);
  const Address owner = Pointer(object, Field::PyMethodObject_im_class);
  const TypeFacts* const owner_type = t_.reader.Type(owner);
  const TypeFacts* const function_type = FactsOf(function);
  const bool is_function = function_type != nullptr && function_type->name == "function";
  const std::string name = is_function ? Text(Pointer(function, Field::PyFunctionObject_func_name)) : OldMethodName(function);
  const std::string class_name = owner_type != nullptr ? std::string(LastPart(owner_type->name)) : Text(Pointer(owner, Field::PyClassObject_cl_name));
  if (self == 0) return Put(fmt::format("<unbound method {}.{}>", class_name, name));
  if (!Enter(object, "…")) return;
  Put(fmt::format("<bound method {}.{} of ", class_name, name));
  Object(self);
  Put(">");
  Leave();
}

// __name__ of what is called by a method and is no function: known where it is one of its own attributes.
std::string ReprWriter::OldMethodName(Address callable) {
  const TypeFacts* const type = FactsOf(callable);
  const Address own = type == nullptr ? 0 : Attribute(callable, *type, "__name__");
  if (own == 0) exact_ = false;
  return own == 0 ? "?" : Text(own);
}

std::string ReprWriter::NameInC(const TypeFacts& type) const {
  return t_.values.memory().ReadCString(Pointer(type.address, Field::PyTypeObject_tp_name), 256).value_or(type.name);
}

// CPython: wrapper_repr(), Objects/descrobject.c: <method-wrapper '__str__' of list object at 0x...>.
void ReprWriter::MethodWrapper(Address object, const TypeFacts&) {
  const Address descriptor = Pointer(object, Field::wrapperobject_descr), self = Pointer(object, Field::wrapperobject_self);
  const TypeFacts* const type = FactsOf(self);
  Put(fmt::format("<method-wrapper '{}' of {} object", Text(Pointer(descriptor, Field::PyDescrObject_d_name)), type == nullptr ? "?" : NameInC(*type)));
  At(self);
}

// CPython: descr_repr(), Objects/descrobject.c.
void ReprWriter::Descriptor(Address object, const TypeFacts& type) {
  const char* const kind = type.name == "wrapper_descriptor"  ? "slot wrapper"
                           : type.name == "getset_descriptor" ? "attribute"
                           : type.name == "member_descriptor" ? "member"
                                                              : "method";
  const Address owner = Pointer(object, Field::PyDescrObject_d_type);
  const std::string name = Text(Pointer(object, Field::PyDescrObject_d_name));
  const TypeFacts* const owner_type = t_.reader.Type(owner);
  if (t_.style.shared_descriptors && owner_type != nullptr && owner_type->name == "object") {
    return Put(fmt::format("<{} '{}'>", kind, name));
  }
  const Address owner_name = Pointer(owner, Field::PyTypeObject_tp_name);
  Put(fmt::format("<{} '{}' of '{}' objects>", kind, name,
                  owner_name == 0 ? "?" : t_.values.memory().ReadCString(owner_name, 256).value_or("?")));
}

void ReprWriter::StaticMethod(Address object, const TypeFacts& type) {
  if (!t_.style.wraps_staticmethod) return Default(object, type);
  Put("<" + type.name + "(");
  Object(type.name == "staticmethod" ? Pointer(object, Field::staticmethod_sm_callable) : Pointer(object, Field::classmethod_cm_callable));
  Put(")>");
}

// CPython: cell_repr(), Objects/cellobject.c; the content's tp_name.
void ReprWriter::Cell(Address object, const TypeFacts&) {
  const Address content = Pointer(object, Field::PyCellObject_ob_ref);
  if (content == 0) return Put(fmt::format("<cell at {:#x}: empty>", object));
  const TypeFacts* const type = FactsOf(content);
  const std::string name = type == nullptr ? "?" : t_.values.memory().ReadCString(Pointer(type->address, Field::PyTypeObject_tp_name), 256).value_or(type->name);
  Put(fmt::format("<cell at {:#x}: {} object", object, name));
  At(content);
}

void ReprWriter::Code(Address object, const TypeFacts&) {
  Put(fmt::format("<code object {} at {:#x}, file \"{}\", line {}>", t_.frames.FunctionName(object), object, t_.frames.FileName(object), t_.frames.FirstLine(object)));
}

void ReprWriter::Frame(Address object, const TypeFacts& type) {
  if (!t_.style.frame_place) return Default(object, type);
  const std::optional<PythonFrame> frame = t_.frames.FromObject(object);
  if (!frame) return Unreadable();
  Put(fmt::format("<frame at {:#x}, file ", object));
  Object(Pointer(frame->code, Field::PyCodeObject_co_filename));
  Put(fmt::format(", line {}, code {}>", frame->line, t_.frames.FunctionName(frame->code)));
}

void ReprWriter::Generator(Address object, const TypeFacts& type) {
  Put(fmt::format("<{} object ", type.name));
  if (t_.layout.Has(Field::PyGenObject_gi_qualname)) {
    PutName(Pointer(object, Field::PyGenObject_gi_qualname));
  } else {
    Put(t_.frames.FunctionName(Pointer(object, Field::PyGenObject_gi_code)));
  }
  At(object);
}

// CPython: _module_repr_from_spec(), Lib/importlib/_bootstrap.py. False where the spec says too little.
bool ReprWriter::ModuleBySpec(Address spec) {
  const TypeFacts* const type = FactsOf(spec);
  if (type == nullptr || type->name == "NoneType") return false;
  const Address origin = Attribute(spec, *type, "origin"), has_location = Attribute(spec, *type, "_set_fileattr"), name = Attribute(spec, *type, "name");
  const TypeFacts* const origin_type = FactsOf(origin);
  const TypeFacts* const name_type = FactsOf(name);
  if (origin_type == nullptr || name_type == nullptr) return false;
  Put("<module ");
  name_type->name == "NoneType" && origin_type->name == "NoneType" ? Put("'?'") : Object(name);
  if (origin_type->name == "NoneType") {
    const Address loader = Attribute(spec, *type, "loader");
    const TypeFacts* const loader_type = FactsOf(loader);
    if (loader_type == nullptr) return Unreadable(), true;
    if (t_.style.namespace_path && LastPart(loader_type->name) == "NamespaceLoader" && loader_type->module == "_frozen_importlib_external") {
      const Address path = Attribute(loader, *loader_type, "_path");
      const TypeFacts* const path_type = FactsOf(path);
      exact_ = false;  // what is kept of it, and not worked out anew
      Put(" (namespace) from ");
      Object(path_type == nullptr ? 0 : Attribute(path, *path_type, "_path"));
      Put(">");
      return true;
    }
    if (loader_type->name == "NoneType") return Put(">"), true;
    Put(" (");
    Object(loader);
    Put(")>");
    return true;
  }
  const bool file = t_.values.Int(has_location).value_or(0) != 0;
  Put(file ? " from " : " (");
  file ? Object(origin) : Put(Text(origin));
  Put(file ? ">" : ")>");
  return true;
}

// CPython: module_repr() of BuiltinImporter, FrozenImporter and NamespaceLoader, Lib/importlib/_bootstrap.py, _bootstrap_external.py [<= 3.11]. False where the loader has
// none, or what it would write is not known.
bool ReprWriter::ModuleByLoader(Address name, Address loader) {
  const TypeFacts* const type = loader == 0 ? nullptr : FactsOf(loader);
  if (type == nullptr) return false;
  const TypeFacts* const self = type->is_type_object ? t_.reader.Type(loader) : nullptr;
  const char* kind = nullptr;
  if (self != nullptr && self->name == "_frozen_importlib.BuiltinImporter") kind = "built-in";
  if (self != nullptr && self->name == "_frozen_importlib.FrozenImporter") kind = "frozen";
  if (type->name == "_frozen_importlib_external._NamespaceLoader" || type->name == "_frozen_importlib_external.NamespaceLoader") kind = "namespace";
  if (kind == nullptr) {
    exact_ = exact_ && ClassAttribute(self != nullptr ? *self : *type, "module_repr") == 0;
    return false;
  }
  if (name == 0) return false;
  Put("<module ");
  Object(name);
  Put(fmt::format(" ({})>", kind));
  return true;
}

// CPython: _module_repr(), Lib/importlib/_bootstrap.py; module_repr(), Objects/moduleobject.c [2.7].
void ReprWriter::Module(Address object, const TypeFacts&) {
  const Address dict = Pointer(object, Field::PyModuleObject_md_dict);
  const Address name = t_.values.DictGet(dict, "__name__"), file = t_.values.DictGet(dict, "__file__");
  if (t_.old()) {
    return Put(fmt::format("<module '{}' {}>", Text(name), file != 0 ? fmt::format("from '{}'", Text(file)) : "(built-in)"));
  }
  const Address loader = t_.values.DictGet(dict, "__loader__"), spec = t_.values.DictGet(dict, "__spec__");
  if (t_.style.loader_repr_first && ModuleByLoader(name, loader)) return;
  if (spec != 0 && ModuleBySpec(spec)) return;
  if (t_.style.loader_repr && !t_.style.loader_repr_first && ModuleByLoader(name, loader)) return;
  Put("<module ");
  name != 0 ? Object(name) : Put("'?'");
  if (file != 0) {
    Put(" from ");
    Object(file);
  } else if (const TypeFacts* const type = FactsOf(loader); type != nullptr && type->name != "NoneType") {
    Put(" (");
    Object(loader);
    Put(")");
  }
  Put(">");
}

// CPython: BaseException_repr(), Objects/exceptions.c.
void ReprWriter::Exception(Address object, const TypeFacts& type) {
  const Address args = Pointer(object, Field::PyBaseExceptionObject_args);
  if (!Enter(object, "…")) return;
  Put(LastPart(type.name));
  if (VarSize(args) == 1 && !t_.style.exception_comma) {
    Put("(");
    Object(t_.values.Pointer(args + t_.offsets.tuple_item));
    Put(")");
  } else {
    Object(args);
  }
  Leave();
}

// CPython: BaseExceptionGroup_repr(), Objects/exceptions.c, where it has one (it came together with excs_str, within 3.13, 3.14 and 3.15): the exceptions that it
// holds, as a list where it was made of one, or what its sequence was when the group was made. Before that: the arguments, as of any exception.
void ReprWriter::ExceptionGroup(Address object, const TypeFacts& type) {
  const Address args = Pointer(object, Field::PyBaseExceptionObject_args), held = Pointer(object, Field::PyBaseExceptionGroupObject_excs);
  if (!t_.layout.Has(Field::PyBaseExceptionGroupObject_excs_str)) return Exception(object, type);
  if (!Enter(object, "…")) return;
  Put(fmt::format("{}(", LastPart(type.name)));
  Object(Pointer(object, Field::PyBaseExceptionGroupObject_msg));
  Put(", ");
  const Address written = Pointer(object, Field::PyBaseExceptionGroupObject_excs_str);
  const TypeFacts* const made_of = VarSize(args) > 1 ? FactsOf(t_.values.Pointer(args + t_.offsets.tuple_item + 8)) : nullptr;
  if (written != 0) {
    const std::optional<TextUnits> units = t_.values.Units(written, limits_.max_text);
    units ? Put(Text(written, limits_.max_text)) : Unreadable();
    if (units && units->count < units->length) {
      Put(fmt::format("… {} more", units->length - units->count));
      complete_ = false;
    }
  } else if (made_of != nullptr && (made_of->flags & static_cast<std::uint64_t>(t_.layout.Value(cpython::Constant::TPFLAGS_LIST_SUBCLASS))) != 0) {
    const std::uint64_t count = VarSize(held);
    Put("[");
    Items(Words(held + t_.offsets.tuple_item, count), count);
    Put("]");
  } else {
    Object(held);
  }
  Put(")");
  Leave();
}

// CPython: weakref_repr(), Objects/weakrefobject.c.
void ReprWriter::WeakReference(Address object, const TypeFacts&) {
  const Address referent = Pointer(object, Field::PyWeakReference_wr_object);
  const TypeFacts* const type = FactsOf(referent);
  if (type == nullptr || type->name == "NoneType") return Put(fmt::format("<weakref at {:#x}; dead>", object));
  const std::string_view qualified = type->name.starts_with("__main__.") ? std::string_view(type->name).substr(std::string_view("__main__.").size()) : type->name;
  Put(fmt::format("<weakref at {:#x}; to '{}' at {:#x}", object, t_.style.weakref_qualified ? std::string(qualified) : NameInC(*type), referent));
  const TypeFacts& of = *type;
  const std::string name = of.name == "function" ? Text(Pointer(referent, Field::PyFunctionObject_func_name))
                           : of.is_type_object   ? ClassName(referent)
                           : of.name == "module" && !t_.style.weakref_special ? Text(t_.values.DictGet(Pointer(referent, Field::PyModuleObject_md_dict), "__name__"))
                                                                              : NameSaidBy(referent, of);
  Put(name.empty() ? ">" : fmt::format(" ({})>", name));
}

// type.__name__: of a class whatever it was set to, of a type made in C without its module. CPython: type_name(), Objects/typeobject.c.
std::string ReprWriter::ClassName(Address type) const {
  const TypeFacts* const facts = t_.reader.Type(type);
  return facts == nullptr ? "" : facts->is_heap_type ? Text(Pointer(type, Field::PyHeapTypeObject_ht_name)) : std::string(LastPart(NameInC(*facts)));
}

// The text that an instance gives for its __name__; "" where it has none, or none that is a text. What Python code would answer is not known.
std::string ReprWriter::NameSaidBy(Address instance, const TypeFacts& type) {
  const Address own = t_.style.weakref_special ? 0 : Attribute(instance, type, "__name__"), of_class = ClassAttribute(type, "__name__");
  const TypeFacts* const facts = of_class == 0 ? nullptr : FactsOf(of_class);
  const bool descriptor = facts != nullptr && (facts->name == "property" || ClassAttribute(*facts, "__get__") != 0);
  const bool asked = !t_.style.weakref_special && (ClassAttribute(type, "__getattribute__") != 0 || (own == 0 && of_class == 0 && ClassAttribute(type, "__getattr__") != 0));
  if (descriptor || asked) {
    exact_ = false;
    return "";
  }
  return Text(own != 0 ? own : of_class);
}

// CPython: partial_repr(), Modules/_functoolsmodule.c.
void ReprWriter::Partial(Address object, const TypeFacts& type) {
  if (t_.old()) return Default(object, type);
  if (!Enter(object, "...")) return;
  Put((t_.style.partial_module ? type.name : NameInC(type)) + "(");
  Object(Pointer(object, Field::partialobject_fn));
  const Address args = Pointer(object, Field::partialobject_args);
  const std::uint64_t count = VarSize(args);
  if (count > 0) {
    Put(", ");
    Items(Words(args + t_.offsets.tuple_item, count), count);
  }
  const Address keywords = Pointer(object, Field::partialobject_kw);
  const TypeFacts* const keywords_type = FactsOf(keywords);
  if (keywords_type != nullptr && keywords_type->name == "dict" && Pointer(keywords, Field::PyDictObject_ma_used) > 0) {
    Put(", ");
    KeywordEntries(keywords, false);
  }
  Put(")");
  Leave();
}

// CPython: EnumType.__repr__, Lib/enum.py: <enum 'Color'>, <flag 'Perm'> (3.11+).
void ReprWriter::EnumType(Address object, const TypeFacts&) {
  const TypeFacts* const self = t_.reader.Type(object);
  if (self == nullptr) return Unreadable();
  bool flag = false;
  for (const Address base : t_.values.TupleItems(t_.values.Pointer(object + t_.offsets.tp_mro), kMaxMro)) {
    const TypeFacts* const facts = t_.reader.Type(base);
    flag = flag || (t_.style.names_flags && facts != nullptr && facts->name == "enum.Flag");
  }
  Put(fmt::format("<{} '{}'>", flag ? "flag" : "enum", LastPart(self->name)));
}

// The object under a name in an instance's own attributes (__slots__, __dict__, inline values); 0 where it has none.
Address ReprWriter::Attribute(Address instance, const TypeFacts& type, std::string_view name) const {
  std::vector<LabelledReferent> referents;
  t_.reader.LabelledReferents(instance, type, referents, {0, {}, 1000});
  for (const LabelledReferent& r : referents) {
    if (r.kind == SlotKind::kAttribute && r.key != 0 && t_.values.TextEquals(r.key, name)) return r.referent;
    if (r.kind == SlotKind::kSlot && (r.text == name || (r.name != nullptr && name == r.name))) return r.referent;
    if (r.kind == SlotKind::kField && r.name != nullptr && std::string_view(r.name) == "__dict__") {
      if (const Address value = t_.values.DictGet(r.referent, name)) return value;
    }
  }
  const Address dict = type.dictoffset > 0 ? t_.values.Pointer(instance + static_cast<std::uint64_t>(type.dictoffset)) : 0;
  return dict == 0 ? 0 : t_.values.DictGet(dict, name);
}

}  // namespace pygc::objects
