/* A type as extension modules have them: members that Python sees and that only C sees, in the object and in blocks that it owns.
 * Built twice: MODULE owner_named with debug information, owner_bare without. */
#include <Python.h>
#include <structmember.h>

typedef struct node {
  struct node *next;
  PyObject *value;
} node;

typedef struct {
  PyObject_HEAD
  PyObject *shown; /* tp_members: public_name */
  PyObject *hidden;
  struct {
    PyObject *left, *right;
  } pair;
  PyObject *slots[3];
  node *first;
  PyObject **items;
  Py_ssize_t count;
} Owner;

static int owner_traverse(PyObject *op, visitproc visit, void *arg) {
  Owner *self = (Owner *)op;
  Py_VISIT(self->shown);
  Py_VISIT(self->hidden);
  Py_VISIT(self->pair.left);
  Py_VISIT(self->pair.right);
  for (int k = 0; k < 3; ++k) Py_VISIT(self->slots[k]);
  for (node *n = self->first; n; n = n->next) Py_VISIT(n->value);
  for (Py_ssize_t k = 0; k < self->count; ++k) Py_VISIT(self->items[k]);
  return 0;
}

/* Owner(list of 12 objects): takes them in the order of the places above; two nodes, three items. It never dies. */
static PyObject *owner_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *list = NULL;
  (void)keywords;
  if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &list) || PyList_GET_SIZE(list) != 12) return PyErr_Format(PyExc_TypeError, "a list of 12");
  Owner *self = (Owner *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  PyObject *taken[12];
  for (Py_ssize_t k = 0; k < 12; ++k) {
    taken[k] = PyList_GET_ITEM(list, k);
    Py_INCREF(taken[k]);
  }
  self->shown = taken[0], self->hidden = taken[1], self->pair.left = taken[2], self->pair.right = taken[3];
  for (int k = 0; k < 3; ++k) self->slots[k] = taken[4 + k];
  node *first = malloc(sizeof *first), *second = malloc(sizeof *second);
  first->next = second, first->value = taken[7];
  second->next = NULL, second->value = taken[8];
  self->first = first;
  self->items = malloc(3 * sizeof *self->items);
  for (int k = 0; k < 3; ++k) self->items[k] = taken[9 + k];
  self->count = 3;
  return (PyObject *)self;
}

static PyMemberDef owner_members[] = {{(char *)"public_name", T_OBJECT, offsetof(Owner, shown), 0, NULL}, {NULL, 0, 0, 0, NULL}};

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
static PyTypeObject Owner_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = TEXT(MODULE) ".Owner",
    .tp_basicsize = sizeof(Owner),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = owner_traverse,
    .tp_members = owner_members,
    .tp_new = owner_new,
};

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#if PY_MAJOR_VERSION >= 3
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, TEXT(MODULE), NULL, -1, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC JOIN(PyInit_, MODULE)(void) {
  PyObject *m = PyModule_Create(&definition);
  if (!m || PyType_Ready(&Owner_Type) < 0) return NULL;
  Py_INCREF(&Owner_Type);
  PyModule_AddObject(m, "Owner", (PyObject *)&Owner_Type);
  return m;
}
#else
PyMODINIT_FUNC JOIN(init, MODULE)(void) {
  PyObject *m = Py_InitModule(TEXT(MODULE), NULL);
  if (!m || PyType_Ready(&Owner_Type) < 0) return;
  Py_INCREF(&Owner_Type);
  PyModule_AddObject(m, "Owner", (PyObject *)&Owner_Type);
}
#endif
