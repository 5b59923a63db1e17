// An extension module as pybind11 makes them: Python objects that own C++ objects, in whose containers and callbacks are references that no traversal visits.
// Built against an interpreter's own headers, or with Py_LIMITED_API for all of Python 3.
#include <Python.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

namespace std {
// The libraries of older systems do not have it, and headers of GCC 12 ask for it.
[[noreturn]] void __throw_bad_array_new_length() { std::abort(); }
}  // namespace std

namespace {

// Owns one reference.
class Handle {
 public:
  explicit Handle(PyObject* object) : object_(object) { Py_INCREF(object_); }
  Handle(const Handle& other) : object_(other.object_) { Py_INCREF(object_); }
  Handle& operator=(const Handle&) = delete;
  ~Handle() { Py_DECREF(object_); }

 private:
  PyObject* object_;
};

struct Pet {
  virtual ~Pet() = default;
  std::string name = "a name that is too long for its own place";
  std::vector<Handle> vector;
  std::list<Handle> list;
  std::map<int, Handle> map;
  std::unordered_map<std::string, Handle> unordered_map;
  std::function<void()> function;
  std::shared_ptr<Pet> friend_of_it;
};

struct Instance {
  PyObject ob_base;
  Pet* value;
  std::shared_ptr<Pet> holder;
};

Pet& PetOf(PyObject* self) { return *reinterpret_cast<Instance*>(self)->value; }

#if PY_MAJOR_VERSION < 3
PyObject* Allocate(PyTypeObject* type) { return type->tp_alloc(type, 0); }
void Free(PyObject* self) { Py_TYPE(self)->tp_free(self); }
#else
PyObject* Allocate(PyTypeObject* type) { return reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc))(type, 0); }
void Free(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}
#endif

PyObject* New(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* const self = Allocate(type);
  if (self == nullptr) return nullptr;
  Instance* const instance = reinterpret_cast<Instance*>(self);
  new (&instance->holder) std::shared_ptr<Pet>(std::make_shared<Pet>());
  instance->value = instance->holder.get();
  return self;
}

void Dealloc(PyObject* self) {
  reinterpret_cast<Instance*>(self)->holder.~shared_ptr();
  Free(self);
}

PyObject* None() {
  Py_INCREF(Py_None);
  return Py_None;
}
PyObject* InVector(PyObject* self, PyObject* object) { return PetOf(self).vector.emplace_back(object), None(); }
PyObject* InList(PyObject* self, PyObject* object) { return PetOf(self).list.emplace_back(object), None(); }
PyObject* InMap(PyObject* self, PyObject* object) { return PetOf(self).map.emplace(7, Handle(object)), None(); }
PyObject* InUnorderedMap(PyObject* self, PyObject* object) { return PetOf(self).unordered_map.emplace("a key that is too long for its own place", Handle(object)), None(); }
PyObject* InFunction(PyObject* self, PyObject* object) { return PetOf(self).function = [h = Handle(object)] { static_cast<void>(h); }, None(); }
PyObject* InSharedPtr(PyObject* self, PyObject* object) {
  PetOf(self).friend_of_it = std::make_shared<Pet>();
  PetOf(self).friend_of_it->vector.emplace_back(object);
  return None();
}

// A word that a process has left somewhere leads to memory that was in use before. Takes all such memory of small sizes, so that what comes now lies elsewhere.
PyObject* TakeFreeMemory(PyObject*, PyObject*) {
  for (int i = 0; i < 2000; ++i) {
    for (std::size_t bytes = 24; bytes <= 1032; bytes += 16) {
      if (void* const p = std::malloc(bytes)) std::memset(p, 0, bytes);
    }
  }
  return None();
}

// Overwrites the stack as far down as anything was called before.
PyObject* ClearStack(PyObject*, PyObject*) {
  char below[1 << 18];
  std::memset(below, 0, sizeof below);
  __asm__ volatile("" : : "r"(below) : "memory");
  return None();
}

PyMethodDef kMethods[] = {{"vector", InVector, METH_O, nullptr},   {"list", InList, METH_O, nullptr},         {"map", InMap, METH_O, nullptr},
                          {"unordered_map", InUnorderedMap, METH_O, nullptr}, {"function", InFunction, METH_O, nullptr}, {"shared_ptr", InSharedPtr, METH_O, nullptr},
                          {nullptr, nullptr, 0, nullptr}};
PyMethodDef kFunctions[] = {{"take_free_memory", TakeFreeMemory, METH_NOARGS, nullptr}, {"clear_stack", ClearStack, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

}  // namespace

#if PY_MAJOR_VERSION < 3
static PyTypeObject PetType;

PyMODINIT_FUNC initcontainers(void) {
  Py_REFCNT(&PetType) = 1;
  PetType.tp_name = "containers.Pet";
  PetType.tp_basicsize = sizeof(Instance);
  PetType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE;
  PetType.tp_new = New;
  PetType.tp_dealloc = Dealloc;
  PetType.tp_methods = kMethods;
  PyObject* const module = Py_InitModule("containers", kFunctions);
  if (module == nullptr || PyType_Ready(&PetType) < 0) return;
  Py_INCREF(&PetType);
  PyModule_AddObject(module, "Pet", reinterpret_cast<PyObject*>(&PetType));
}
#else
static PyType_Slot kSlots[] = {{Py_tp_new, reinterpret_cast<void*>(New)}, {Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)}, {Py_tp_methods, kMethods}, {0, nullptr}};
static PyType_Spec kSpec = {"containers.Pet", sizeof(Instance), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, kSlots};
static PyModuleDef kModule = {PyModuleDef_HEAD_INIT, "containers", nullptr, -1, kFunctions, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit_containers(void) {
  PyObject* const module = PyModule_Create(&kModule);
  PyObject* const type = module != nullptr ? PyType_FromSpec(&kSpec) : nullptr;
  return type != nullptr && PyModule_AddObject(module, "Pet", type) == 0 ? module : nullptr;
}
#endif
