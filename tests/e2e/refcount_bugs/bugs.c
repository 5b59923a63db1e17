// An extension module with one reference counting bug in each function, for tests of the audit. Built against each interpreter's own headers.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#if PY_MAJOR_VERSION < 3
#define PyUnicode_FromString PyString_FromString
#endif

static PyObject* kept_borrowed = NULL;

// A reference is made and never given up: on the way that goes well.
static PyObject* missing_decref(PyObject* self, PyObject* value) {
  (void)self;
  PyObject* list = PyList_New(0);
  if (list == NULL) return NULL;
  Py_INCREF(value);
  PyList_Append(list, value);  // takes its own reference; the one above is never released
  return list;
}

// The same on the way that ends in an error.
static PyObject* missing_decref_on_error(PyObject* self, PyObject* value) {
  (void)self;
  Py_INCREF(value);
  PyErr_SetString(PyExc_ValueError, "never released");
  return NULL;
}

// A new object is made and dropped without being released.
static PyObject* forgotten_object(PyObject* self, PyObject* value) {
  (void)self;
  PyObject* list = PyList_New(1);
  if (list == NULL) return NULL;
  Py_INCREF(value);
  PyList_SET_ITEM(list, 0, value);
  return PyLong_FromVoidPtr(list);  // where it was, for the test
}

// A reference is given up twice.
static PyObject* double_decref(PyObject* self, PyObject* value) {
  (void)self;
  Py_INCREF(value);
  Py_DECREF(value);
  Py_DECREF(value);
  Py_RETURN_NONE;
}

// PyList_SET_ITEM and PyTuple_SET_ITEM steal; the caller's reference is not ours to give.
static PyObject* stolen_reference(PyObject* self, PyObject* value) {
  (void)self;
  PyObject* tuple = PyTuple_New(1);
  if (tuple == NULL) return NULL;
  PyTuple_SET_ITEM(tuple, 0, value);  // without Py_INCREF
  return tuple;
}

// PyDict_GetItem and PyList_GET_ITEM lend; here the loan is given back as if it were owned.
static PyObject* borrowed_released(PyObject* self, PyObject* list) {
  (void)self;
  PyObject* item = PyList_GET_ITEM(list, 0);
  Py_DECREF(item);
  Py_RETURN_NONE;
}

// A loan is kept in a static without a reference of its own.
static PyObject* borrowed_kept(PyObject* self, PyObject* value) {
  (void)self;
  kept_borrowed = value;
  Py_RETURN_NONE;
}

// A structure of C code owns an object, and the structure is forgotten.
static void* volatile forgotten_now;  // so that the compiler does not leave it all out
static PyObject* forgotten_structure(PyObject* self, PyObject* value) {
  (void)self;
  struct Forgotten {
    long number;
    PyObject* owned;
    char text[64];
  }* forgotten = malloc(sizeof *forgotten);
  if (forgotten == NULL) return PyErr_NoMemory();
  memset(forgotten, 0, sizeof *forgotten);
  Py_INCREF(value);
  forgotten->owned = value;
  forgotten_now = forgotten;
  forgotten_now = NULL;
  Py_RETURN_NONE;
}

// A structure that is kept rightly: a static leads to it through another one.
static struct Kept {
  struct Kept* next;
  PyObject* owned;
} kept_first;
static PyObject* kept_structure(PyObject* self, PyObject* value) {
  (void)self;
  struct Kept* kept = malloc(sizeof *kept);
  if (kept == NULL) return PyErr_NoMemory();
  Py_INCREF(value);
  kept->owned = value;
  kept->next = kept_first.next;
  kept_first.next = kept;
  Py_RETURN_NONE;
}

// A correct function beside them: owned by a static, and rightly so.
static PyObject* kept_owned = NULL;
static PyObject* keep(PyObject* self, PyObject* value) {
  (void)self;
  Py_INCREF(value);
  Py_XSETREF(kept_owned, value);
  Py_RETURN_NONE;
}

// The same for the calling thread alone.
static __thread PyObject* kept_by_thread = NULL;
static PyObject* keep_in_thread(PyObject* self, PyObject* value) {
  (void)self;
  Py_INCREF(value);
  Py_XSETREF(kept_by_thread, value);
  Py_RETURN_NONE;
}

// A container that owns an object and does not tell the collector: no Py_TPFLAGS_HAVE_GC.
typedef struct {
  PyObject_HEAD
  PyObject* content;
} Box;

static void box_dealloc(PyObject* self) {
  Py_XDECREF(((Box*)self)->content);
  PyTypeObject* type = Py_TYPE(self);
  if (PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC)) PyObject_GC_UnTrack(self);
  type->tp_free(self);
}

static PyObject* box_set(PyObject* self, PyObject* value) {
  Py_INCREF(value);
  Py_XSETREF(((Box*)self)->content, value);
  Py_RETURN_NONE;
}

static PyMethodDef box_methods[] = {{"set", box_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyTypeObject BoxType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bugs.NoGcBox",
                               .tp_basicsize = sizeof(Box),
                               .tp_dealloc = box_dealloc,
                               .tp_flags = Py_TPFLAGS_DEFAULT,
                               .tp_methods = box_methods,
                               .tp_new = PyType_GenericNew};

// The collector is told of the container, and its content is not visited.
static int blind_traverse(PyObject* self, visitproc visit, void* arg) {
  (void)self;
  (void)visit;
  (void)arg;
  return 0;
}
static PyTypeObject BlindType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bugs.BlindBox",
                                 .tp_basicsize = sizeof(Box),
                                 .tp_dealloc = box_dealloc,
                                 .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                 .tp_traverse = blind_traverse,
                                 .tp_methods = box_methods,
                                 .tp_alloc = PyType_GenericAlloc,
                                 .tp_new = PyType_GenericNew,
                                 .tp_free = PyObject_GC_Del};

// Its content is lent to it: it is visited, and no count says so.
static int greedy_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(((Box*)self)->content);
  return 0;
}
static PyObject* greedy_set(PyObject* self, PyObject* value) {
  ((Box*)self)->content = value;
  Py_RETURN_NONE;
}
static int greedy_clear(PyObject* self) {
  ((Box*)self)->content = NULL;
  return 0;
}
static void greedy_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  Py_TYPE(self)->tp_free(self);
}
static PyMethodDef greedy_methods[] = {{"set", greedy_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyTypeObject GreedyType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bugs.GreedyBox",
                                  .tp_basicsize = sizeof(Box),
                                  .tp_dealloc = greedy_dealloc,
                                  .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                  .tp_traverse = greedy_traverse,
                                  .tp_clear = greedy_clear,
                                  .tp_methods = greedy_methods,
                                  .tp_alloc = PyType_GenericAlloc,
                                  .tp_new = PyType_GenericNew,
                                  .tp_free = PyObject_GC_Del};

// What it holds can change, and the collector cannot make it give that up.
static PyTypeObject ClearlessType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bugs.ClearlessBox",
                                     .tp_basicsize = sizeof(Box),
                                     .tp_dealloc = box_dealloc,
                                     .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                     .tp_traverse = greedy_traverse,
                                     .tp_methods = box_methods,
                                     .tp_alloc = PyType_GenericAlloc,
                                     .tp_new = PyType_GenericNew,
                                     .tp_free = PyObject_GC_Del};

// One reference, in memory of its own, visited twice.
typedef struct {
  PyObject_HEAD
  PyObject** block;
} TwiceBox;
static int twice_traverse(PyObject* self, visitproc visit, void* arg) {
  PyObject** const block = ((TwiceBox*)self)->block;
  if (block == NULL) return 0;
  Py_VISIT(block[3]);
  Py_VISIT(block[3]);
  return 0;
}
static int twice_clear(PyObject* self) {
  PyObject** const block = ((TwiceBox*)self)->block;
  if (block != NULL) Py_CLEAR(block[3]);
  return 0;
}
static void twice_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  twice_clear(self);
  free(((TwiceBox*)self)->block);
  Py_TYPE(self)->tp_free(self);
}
static PyObject* twice_set(PyObject* self, PyObject* value) {
  PyObject** const block = calloc(6, sizeof(PyObject*));
  if (block == NULL) return PyErr_NoMemory();
  Py_INCREF(value);
  block[3] = value;
  ((TwiceBox*)self)->block = block;
  Py_RETURN_NONE;
}
static PyMethodDef twice_methods[] = {{"set", twice_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyTypeObject TwiceType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bugs.TwiceBox",
                                 .tp_basicsize = sizeof(TwiceBox),
                                 .tp_dealloc = twice_dealloc,
                                 .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                 .tp_traverse = twice_traverse,
                                 .tp_clear = twice_clear,
                                 .tp_methods = twice_methods,
                                 .tp_alloc = PyType_GenericAlloc,
                                 .tp_new = PyType_GenericNew,
                                 .tp_free = PyObject_GC_Del};

// Its content lies in memory of its own, two pointers away, and no traversal shows it.
typedef struct {
  PyObject_HEAD
  void** table;
} NativeBox;
static PyObject* native_set(PyObject* self, PyObject* value) {
  void** table = calloc(40, sizeof(void*));
  PyObject** slot = calloc(6, sizeof(PyObject*));
  if (table == NULL || slot == NULL) return PyErr_NoMemory();
  Py_INCREF(value);
  slot[2] = value;
  table[33] = slot;
  ((NativeBox*)self)->table = table;
  Py_RETURN_NONE;
}
static PyMethodDef native_methods[] = {{"set", native_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyTypeObject NativeType = {PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bugs.NativeBox",
                                  .tp_basicsize = sizeof(NativeBox),
                                  .tp_flags = Py_TPFLAGS_DEFAULT,
                                  .tp_methods = native_methods,
                                  .tp_new = PyType_GenericNew};

// The same as NoGcBox, made by PyType_FromSpec: neither the type itself nor a tp_traverse lies in the module.
#if PY_VERSION_HEX >= 0x03050000
static void spec_box_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(((Box*)self)->content);
  type->tp_free(self);
#if PY_VERSION_HEX >= 0x03080000
  Py_DECREF(type);
#endif
}
static PyType_Slot spec_slots[] = {{Py_tp_dealloc, spec_box_dealloc}, {Py_tp_methods, box_methods}, {0, NULL}};
static PyType_Spec spec_spec = {"bugs.SpecBox", sizeof(Box), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, spec_slots};
// Its tp_dealloc is CPython's own.
static PyType_Slot native_spec_slots[] = {{Py_tp_methods, native_methods}, {0, NULL}};
static PyType_Spec native_spec = {"bugs.NativeSpecBox", sizeof(NativeBox), 0, Py_TPFLAGS_DEFAULT, native_spec_slots};
static int add_spec_types(PyObject* module) {
  PyObject* spec = PyType_FromSpec(&spec_spec);
  PyObject* native = PyType_FromSpec(&native_spec);
  if (spec == NULL || native == NULL) return -1;
  return PyModule_AddObject(module, "SpecBox", spec) < 0 || PyModule_AddObject(module, "NativeSpecBox", native) < 0 ? -1 : 0;
}
#else
static int add_spec_types(PyObject* module) {
  (void)module;
  return 0;
}
#endif

// Heap types of C code, from 3.9 on: one tp_traverse forgets the type, the other does not.
#if PY_VERSION_HEX >= 0x03090000
static int forgetful_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(((Box*)self)->content);
  return 0;
}
static int right_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(((Box*)self)->content);
  return 0;
}
static int box_clear(PyObject* self) {
  Py_CLEAR(((Box*)self)->content);
  return 0;
}
static void heap_box_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  box_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}
static PyType_Slot forgetful_slots[] = {{Py_tp_traverse, forgetful_traverse}, {Py_tp_clear, box_clear}, {Py_tp_dealloc, heap_box_dealloc}, {Py_tp_methods, box_methods}, {0, NULL}};
static PyType_Spec forgetful_spec = {"bugs.ForgetfulBox", sizeof(Box), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, forgetful_slots};
static PyType_Slot right_slots[] = {{Py_tp_traverse, right_traverse}, {Py_tp_clear, box_clear}, {Py_tp_dealloc, heap_box_dealloc}, {Py_tp_methods, box_methods}, {0, NULL}};
static PyType_Spec right_spec = {"bugs.RightBox", sizeof(Box), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, right_slots};

static int add_heap_types(PyObject* module) {
  PyObject* forgetful = PyType_FromSpec(&forgetful_spec);
  PyObject* right = PyType_FromSpec(&right_spec);
  if (forgetful == NULL || right == NULL) return -1;
  return PyModule_AddObject(module, "ForgetfulBox", forgetful) < 0 || PyModule_AddObject(module, "RightBox", right) < 0 ? -1 : 0;
}
#else
static int add_heap_types(PyObject* module) {
  (void)module;
  return 0;
}
#endif

// The state of the module owns an object, and the one before it is never released.
typedef struct {
  PyObject* current;
} State;
#if PY_MAJOR_VERSION < 3
State only_state;  // a static one is only written to, so the compiler leaves that out
#define STATE(module) (&only_state)
#else
#define STATE(module) ((State*)PyModule_GetState(module))
#endif
static PyObject* state_replaced(PyObject* self, PyObject* value) {
  Py_INCREF(value);
  STATE(self)->current = value;
  Py_RETURN_NONE;
}

// What never dies is given up once too often: without effect where such objects are immortal (3.12+).
static PyObject* immortal_released(PyObject* self, PyObject* nothing) {
  (void)self;
  (void)nothing;
  Py_DECREF(Py_None);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"missing_decref", missing_decref, METH_O, NULL},
                                {"missing_decref_on_error", missing_decref_on_error, METH_O, NULL},
                                {"forgotten_object", forgotten_object, METH_O, NULL},
                                {"double_decref", double_decref, METH_O, NULL},
                                {"stolen_reference", stolen_reference, METH_O, NULL},
                                {"borrowed_released", borrowed_released, METH_O, NULL},
                                {"borrowed_kept", borrowed_kept, METH_O, NULL},
                                {"keep", keep, METH_O, NULL},
                                {"keep_in_thread", keep_in_thread, METH_O, NULL},
                                {"forgotten_structure", forgotten_structure, METH_O, NULL},
                                {"kept_structure", kept_structure, METH_O, NULL},
                                {"state_replaced", state_replaced, METH_O, NULL},
                                {"immortal_released", immortal_released, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static int add_types(PyObject* module) {
  if (PyType_Ready(&BoxType) < 0 || PyType_Ready(&BlindType) < 0 || PyType_Ready(&NativeType) < 0) return -1;
  if (add_spec_types(module) < 0 || add_heap_types(module) < 0) return -1;
  if (PyType_Ready(&GreedyType) < 0 || PyType_Ready(&ClearlessType) < 0 || PyType_Ready(&TwiceType) < 0) return -1;
  Py_INCREF(&GreedyType);
  Py_INCREF(&ClearlessType);
  Py_INCREF(&TwiceType);
  if (PyModule_AddObject(module, "TwiceBox", (PyObject*)&TwiceType) < 0) return -1;
  if (PyModule_AddObject(module, "GreedyBox", (PyObject*)&GreedyType) < 0 || PyModule_AddObject(module, "ClearlessBox", (PyObject*)&ClearlessType) < 0) return -1;
  Py_INCREF(&NativeType);
  if (PyModule_AddObject(module, "NativeBox", (PyObject*)&NativeType) < 0) return -1;
  Py_INCREF(&BoxType);
  Py_INCREF(&BlindType);
  return PyModule_AddObject(module, "NoGcBox", (PyObject*)&BoxType) < 0 || PyModule_AddObject(module, "BlindBox", (PyObject*)&BlindType) < 0 ? -1 : 0;
}

#if PY_MAJOR_VERSION < 3
PyMODINIT_FUNC initbugs(void) {
  PyObject* module = Py_InitModule("bugs", methods);
  if (module != NULL) (void)add_types(module);
}
#else
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "bugs", NULL, sizeof(State), methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_bugs(void) {
  PyObject* module = PyModule_Create(&definition);
  if (module != NULL) STATE(module)->current = NULL;
  if (module != NULL && add_types(module) < 0) return NULL;
  return module;
}
#endif
