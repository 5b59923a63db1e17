/* Shapes of tp_traverse functions as compilers see them, without Python: each walks an object of its own and calls `visit` on what it finds.
 * Compiled by run.py with many compilers and flags, loaded by traverse_shapes.cc, where each function runs natively and in the machine.
 * expect 1: has to be exact; 0: may be refused (floating point), but never wrong. */
#include <alloca.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct object { intptr_t refcount; struct type *type; } object;
typedef struct type { object head; const char *name; const struct methods *methods; uintptr_t flags; } type;
typedef int (*visitproc)(object *, void *);
typedef int (*traverseproc)(object *, visitproc, void *);
struct methods { int (*step)(object *, visitproc, void *, int); traverseproc base; };

struct shape { const char *name; traverseproc traverse; object *self; int expect; };

#define VISIT(o) do { if (o) { int r_ = visit((object *)(o), arg); if (r_) return r_; } } while (0)
#define NOINLINE __attribute__((noinline))
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

static type meta = {{1, &meta}, "meta", 0, 0};
static type plain = {{1, &meta}, "plain", 0, 0};
static object leaves[256];
static object *leaf(unsigned i) { return &leaves[i & 255]; }
static void *make(size_t size, type *t) {
  object *o = aligned_alloc(64, (size + 127) / 64 * 64);
  memset(o, 0, (size + 127) / 64 * 64);
  o->refcount = 1;
  o->type = t;
  return o;
}

/* ---- fields, arrays ---- */
struct fixed { object head; object *a, *b, *c, *d, *e, *f, *g, *h; };
static int fixed_traverse(object *self, visitproc visit, void *arg) {
  struct fixed *s = (struct fixed *)self;
  VISIT(s->a); VISIT(s->b); VISIT(s->c); VISIT(s->d); VISIT(s->e); VISIT(s->f); VISIT(s->g); VISIT(s->h);
  return 0;
}
static int backwards_traverse(object *self, visitproc visit, void *arg) {
  struct fixed *s = (struct fixed *)self;
  VISIT(s->h); VISIT(s->d); VISIT(s->a);
  return 0;
}
struct inline_array { object head; intptr_t size; object *items[]; };
static int inline_array_traverse(object *self, visitproc visit, void *arg) {
  struct inline_array *s = (struct inline_array *)self;
  for (intptr_t i = s->size; --i >= 0;) VISIT(s->items[i]);
  return 0;
}
struct heap_array { object head; object **items; uint32_t size, stride; };
static int heap_array_traverse(object *self, visitproc visit, void *arg) {
  struct heap_array *s = (struct heap_array *)self;
  for (uint32_t i = 0; i < s->size; ++i) VISIT(s->items[i]);
  return 0;
}
static int strided_traverse(object *self, visitproc visit, void *arg) {
  struct heap_array *s = (struct heap_array *)self;
  for (uint32_t i = 0; i * s->stride < s->size; ++i) VISIT(s->items[i * s->stride]);
  return 0;
}
static int ring_traverse(object *self, visitproc visit, void *arg) {
  struct heap_array *s = (struct heap_array *)self;
  for (uint32_t i = 0; i < s->size; ++i) VISIT(s->items[(i * 7 + 3) % s->size]);
  return 0;
}
static int signed_ring_traverse(object *self, visitproc visit, void *arg) {
  struct heap_array *s = (struct heap_array *)self;
  int n = (int)s->size;
  for (int i = -n; i < n; ++i) VISIT(s->items[(i % n + n) % n]);
  return 0;
}
struct row { object *key; int64_t hash; object *value; char used; };
struct table { object head; struct row *rows; size_t mask, used; };
static int table_traverse(object *self, visitproc visit, void *arg) {
  struct table *s = (struct table *)self;
  for (size_t i = 0; i <= s->mask; ++i) {
    if (!s->rows[i].used) continue;
    VISIT(s->rows[i].key);
    VISIT(s->rows[i].value);
  }
  return 0;
}

/* ---- lists, trees, recursion ---- */
struct node { object head; struct node *next, *left, *right; object *value; int depth; };
static int list_traverse(object *self, visitproc visit, void *arg) {
  for (struct node *n = (struct node *)self; n; n = n->next) VISIT(n->value);
  return 0;
}
static NOINLINE int list_recursive(struct node *n, visitproc visit, void *arg) {
  if (!n) return 0;
  VISIT(n->value);
  int r = list_recursive(n->next, visit, arg);
  if (r) return r;
  VISIT(n->value);
  return 0;
}
static int list_recursive_traverse(object *self, visitproc visit, void *arg) { return list_recursive((struct node *)self, visit, arg); }
static NOINLINE int tree(struct node *n, visitproc visit, void *arg) {
  if (!n) return 0;
  int r = tree(n->left, visit, arg);
  if (r) return r;
  VISIT(n->value);
  return tree(n->right, visit, arg);
}
static int tree_traverse(object *self, visitproc visit, void *arg) { return tree((struct node *)self, visit, arg); }
static NOINLINE int even(struct node *n, visitproc visit, void *arg);
static NOINLINE int odd(struct node *n, visitproc visit, void *arg) {
  if (!n) return 0;
  VISIT(n->value);
  return even(n->next, visit, arg);
}
static NOINLINE int even(struct node *n, visitproc visit, void *arg) {
  if (!n) return 0;
  VISIT(n);
  return odd(n->next, visit, arg);
}
static int mutual_traverse(object *self, visitproc visit, void *arg) { return odd((struct node *)self, visit, arg); }

/* ---- choice ---- */
struct kind { object head; int kind; uint8_t small; int8_t offset; unsigned present : 5, other : 3; object *slots[16]; };
static int switch_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  switch (s->kind) {
    case 0: VISIT(s->slots[3]); break;
    case 1: VISIT(s->slots[1]); VISIT(s->slots[2]); break;
    case 2: VISIT(s->slots[5]); return 0;
    case 3: VISIT(s->slots[7]); /* fall through */
    case 4: VISIT(s->slots[8]); break;
    case 5: for (int i = 0; i < 4; ++i) VISIT(s->slots[i]); break;
    case 6: VISIT(s->slots[15]); break;
    case 7: VISIT(s->slots[14]); VISIT(s->slots[0]); break;
    default: return 0;
  }
  VISIT(s->slots[9]);
  return 0;
}
static int goto_traverse(object *self, visitproc visit, void *arg) {
  static void *const labels[] = {&&zero, &&one, &&two, &&done};
  struct kind *s = (struct kind *)self;
  int state = s->kind & 3;
  goto *labels[state];
zero: VISIT(s->slots[0]);
one: VISIT(s->slots[1]);
two: VISIT(s->slots[2]);
done: return 0;
}
static int bitmap_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  for (uint64_t bits = 0xa5a5 ^ (uint64_t)s->kind; bits; bits &= bits - 1) VISIT(s->slots[__builtin_ctzll(bits) & 15]);
  for (int n = __builtin_popcountll(0xf0f0u + s->small); n > 0; --n) VISIT(s->slots[n & 15]);
  return 0;
}
static int bitfield_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  for (unsigned i = 0; i < 5; ++i)
    if (s->present & (1u << i)) VISIT(s->slots[i]);
  if (s->other > 2) VISIT(s->slots[s->other]);
  return 0;
}
static int signed_index_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  VISIT(s->slots[8 + s->offset]);
  VISIT(s->slots[(s->offset >> 1) + 9]);
  VISIT(s->slots[(uint8_t)(s->small * 3) >> 4]);
  return 0;
}
static int select_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  object *a = s->kind > 3 ? s->slots[1] : s->slots[2];
  object *b = (unsigned)s->kind < 4u ? s->slots[4] : a;
  object *c = s->small > s->kind ? b : s->slots[6];
  VISIT(a); VISIT(b); VISIT(c);
  return 0;
}
static int order_traverse(object *self, visitproc visit, void *arg) { /* by selection, ascending */
  struct kind *s = (struct kind *)self;
  uintptr_t last = 0;
  for (;;) {
    uintptr_t best = UINTPTR_MAX;
    for (int i = 0; i < 16; ++i) {
      uintptr_t v = (uintptr_t)s->slots[i];
      if (v > last && v < best) best = v;
    }
    if (best == UINTPTR_MAX) return 0;
    VISIT(best);
    last = best;
  }
}
static const uint16_t field_offsets[] = {16, 24, 40, 72, 48, 0};
static int offsets_traverse(object *self, visitproc visit, void *arg) {
  for (const uint16_t *p = field_offsets; *p; ++p) VISIT(*(object **)((char *)self + *p));
  return 0;
}

/* ---- calls ---- */
static NOINLINE int step_even(object *self, visitproc visit, void *arg, int i) { VISIT(((struct kind *)self)->slots[2 * (i & 7)]); return 0; }
static const struct methods kind_methods = {step_even, offsets_traverse};
static type with_methods = {{1, &meta}, "with_methods", &kind_methods, 4};
static int vtable_traverse(object *self, visitproc visit, void *arg) {
  for (int i = 0; i < 5; ++i) {
    int r = self->type->methods->step(self, visit, arg, i);
    if (r) return r;
  }
  return 0;
}
static int tail_vtable_traverse(object *self, visitproc visit, void *arg) {
  VISIT(self->type);
  return self->type->methods->step(self, visit, arg, 3);
}
struct closure { visitproc visit; void *arg; int count; object *last; };
static NOINLINE int through_closure(object *o, void *context) {
  struct closure *c = context;
  c->count++;
  if (c->last == o) return 0;
  c->last = o;
  return c->visit(o, c->arg);
}
static int wrapped_visit_traverse(object *self, visitproc visit, void *arg) {
  struct closure c = {visit, arg, 0, 0};
  int r = fixed_traverse(self, through_closure, &c);
  if (r) return r;
  return c.count == 0 ? -1 : 0;
}
static NOINLINE int many_arguments(object *a, object *b, visitproc visit, void *arg, object *c, object *d, object *e, object *f, int g) {
  VISIT(e); VISIT(f); VISIT(a); VISIT(b); VISIT(c);
  if (g == 7) VISIT(d);
  return 0;
}
static int stack_arguments_traverse(object *self, visitproc visit, void *arg) {
  struct fixed *s = (struct fixed *)self;
  int r = many_arguments(s->a, s->b, visit, arg, s->c, s->d, s->e, s->f, 7);
  if (r) return r;
  VISIT(s->g);
  return 0;
}

/* ---- encoded pointers ---- */
static int tagged_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  for (int i = 0; i < 8; ++i) {
    uintptr_t v = (uintptr_t)s->slots[i];
    if (v & 2) VISIT(v & ~(uintptr_t)7);
  }
  return 0;
}
static int xor_list_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  uintptr_t previous = 0x5a5a5a5a5a5a5a5a;
  for (int i = 0; i < 6; ++i) {
    uintptr_t v = (uintptr_t)s->slots[i] ^ previous;
    VISIT(v);
    previous = v;
  }
  return 0;
}
static int mangled_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  uintptr_t a = (uintptr_t)s->slots[0], b = (uintptr_t)s->slots[1];
  VISIT(((a >> 17) | (a << 47)) ^ 0x1234567890abcdefu);
  VISIT(__builtin_bswap64(b));
  return 0;
}
struct relative { object head; int32_t offset[6]; };
static int relative_traverse(object *self, visitproc visit, void *arg) {
  struct relative *s = (struct relative *)self;
  for (int i = 0; i < 6; ++i) VISIT((char *)leaves + s->offset[i]);
  return 0;
}
__extension__ typedef unsigned __int128 wide;
static int wide_traverse(object *self, visitproc visit, void *arg) { /* 128-bit arithmetic */
  struct kind *s = (struct kind *)self;
  wide v = ((wide)(uintptr_t)s->slots[0] << 64) + (uintptr_t)s->slots[1];
  v += (wide)s->small << 70;
  v -= (wide)s->small << 70;
  VISIT((uintptr_t)(v >> 64));
  VISIT((uintptr_t)v);
  return 0;
}

/* ---- scratch memory on the stack ---- */
struct scratch { object *found[12]; size_t count; char text[40]; };
static NOINLINE void collect(struct scratch *t, struct kind *s) {
  for (int i = 0; i < 16 && t->count < 12; ++i)
    if (s->slots[i] && (i & 1)) t->found[t->count++] = s->slots[i];
}
static int scratch_traverse(object *self, visitproc visit, void *arg) {
  struct scratch t;
  memset(&t, 0, sizeof t);
  collect(&t, (struct kind *)self);
  for (size_t i = 0; i < t.count; ++i) VISIT(t.found[i]);
  return 0;
}
static int copied_traverse(object *self, visitproc visit, void *arg) {
  struct kind copy = *(struct kind *)self;
  struct kind *p = &copy;
  OPAQUE(p);
  for (int i = 15; i >= 0; --i) VISIT(p->slots[i]);
  return 0;
}
static int copied_part_traverse(object *self, visitproc visit, void *arg) {
  object *copy[16];
  struct kind *s = (struct kind *)self;
  size_t n = (size_t)(s->kind & 7) + 4;
  memcpy(copy, s->slots, n * sizeof *copy);
  memmove(copy + 1, copy, (n - 1) * sizeof *copy);
  for (size_t i = 0; i < n; ++i) VISIT(copy[i]);
  return 0;
}
static int vla_traverse(object *self, visitproc visit, void *arg) {
  struct heap_array *s = (struct heap_array *)self;
  object **copy = alloca(s->size * sizeof *copy);
  for (uint32_t i = 0; i < s->size; ++i) copy[s->size - 1 - i] = s->items[i];
  for (uint32_t i = 0; i < s->size; ++i) VISIT(copy[i]);
  return 0;
}
static int aligned_traverse(object *self, visitproc visit, void *arg) {
  __attribute__((aligned(64))) object *copy[16];
  object **p = copy;
  memcpy(copy, ((struct kind *)self)->slots, sizeof copy);
  OPAQUE(p);
  for (int i = 0; i < 16; ++i) VISIT(p[i]);
  return 0;
}
static int vector_or_traverse(object *self, visitproc visit, void *arg) { /* a loop that vectorises: or, add and compare of integers */
  struct kind *s = (struct kind *)self;
  uint64_t bits = 0, sum = 0;
  uint32_t small[16], total = 0;
  for (int i = 0; i < 16; ++i) bits |= (uintptr_t)s->slots[i], sum += (uintptr_t)s->slots[i], small[i] = (uint32_t)(uintptr_t)s->slots[i] >> 3;
  for (int i = 0; i < 16; ++i) total += small[i] == (uint32_t)(uintptr_t)s->slots[7] >> 3;
  if (bits & 7) return -1;
  VISIT(s->slots[sum >> 3 & 15]);
  VISIT(s->slots[total]);
  return 0;
}

/* ---- names, locks, threads ---- */
struct named { object head; const char *name; char key[24]; object *yes, *no; };
static int named_traverse(object *self, visitproc visit, void *arg) {
  struct named *s = (struct named *)self;
  if (strcmp(s->name, "interesting") == 0) VISIT(s->yes);
  else VISIT(s->no);
  if (strlen(s->name) > 5 && strncmp(s->name, "inter", 5) == 0) VISIT(s->yes);
  if (memcmp(s->key, "0123456789abcdef", 16) == 0) VISIT(s->no);
  const char *e = strchr(s->name, 'e');
  if (e && e - s->name == 3) VISIT(s->yes);
  if (memchr(s->key, 'f', sizeof s->key)) VISIT(s->no);
  return 0;
}
static int strings_traverse(object *self, visitproc visit, void *arg) {
  struct named *s = (struct named *)self;
  struct { char text[32]; object *o; } local;
  memset(&local, 'x', sizeof local);
  memcpy(local.text, s->key, sizeof s->key);
  local.o = s->yes;
  if (local.text[3] == '3' && local.text[30] == 'x') VISIT(local.o);
  return 0;
}
static int counted_traverse(object *self, visitproc visit, void *arg) { /* holds a reference while it visits: writes to the objects */
  struct fixed *s = (struct fixed *)self;
  for (object **p = &s->a; p <= &s->d; ++p) {
    if (!*p) continue;
    (*p)->refcount++;
    int r = visit(*p, arg);
    (*p)->refcount--;
    if (r) return r;
  }
  return 0;
}
static int locked_traverse(object *self, visitproc visit, void *arg) {
  struct fixed *s = (struct fixed *)self;
  intptr_t expected = 1;
  if (!__atomic_compare_exchange_n(&s->head.refcount, &expected, -1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return 0;
  VISIT(s->a); VISIT(s->b);
  __atomic_fetch_add(&s->head.refcount, 2, __ATOMIC_RELEASE);
  if (__atomic_load_n(&s->head.refcount, __ATOMIC_ACQUIRE) == 1) VISIT(s->c);
  return 0;
}
static __thread int thread_depth = 3;
static int thread_traverse(object *self, visitproc visit, void *arg) {
  struct fixed *s = (struct fixed *)self;
  if (thread_depth > 2) VISIT(s->a);
  thread_depth++;
  VISIT(s->b);
  thread_depth--;
  return 0;
}
/* ---- what the machine may refuse ---- */
static int floating_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  double x = s->small * 1.5;
  VISIT(s->slots[(int)x & 15]);
  VISIT(s->slots[1]);
  return 0;
}
static int allocating_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  VISIT(s->slots[0]);
  object **copy = malloc(sizeof s->slots);
  OPAQUE(copy);
  if (!copy) return -1;
  copy[0] = s->slots[1];
  int r = copy[0] ? visit(copy[0], arg) : 0;
  free(copy);
  return r;
}
/* A list in memory of its own that starts zeroed and grows. */
static int growing_traverse(object *self, visitproc visit, void *arg) {
  struct kind *s = (struct kind *)self;
  object **copy = calloc(2, sizeof *copy);
  OPAQUE(copy);
  copy[0] = s->slots[0];
  int r = copy[1] != 0;
  copy = realloc(copy, 6 * sizeof *copy);
  OPAQUE(copy);
  for (int i = 1; i < 6; ++i) copy[i] = s->slots[i];
  for (int i = 0; i < 6 && !r; ++i) r = copy[i] ? visit(copy[i], arg) : 0;
  free(copy);
  return r;
}

static struct shape shapes[64];
static size_t count;
static void add(const char *name, traverseproc traverse, void *self, int expect) {
  shapes[count++] = (struct shape){name, traverse, self, expect};
}

static struct fixed *new_fixed(unsigned seed) {
  struct fixed *s = make(sizeof *s, &plain);
  for (int i = 0; i < 8; ++i) (&s->a)[i] = i == 5 ? 0 : leaf(seed + 3 * (unsigned)i);
  return s;
}
static struct kind *new_kind(int kind, type *t) {
  struct kind *s = make(sizeof *s, t);
  s->kind = kind, s->small = (uint8_t)(200 + kind), s->offset = (int8_t)(-7 + kind), s->present = 21, s->other = 5;
  for (int i = 0; i < 16; ++i) s->slots[i] = leaf(40 + (unsigned)(i * 5 + kind) % 97);
  return s;
}
static struct heap_array *new_heap_array(uint32_t n) {
  struct heap_array *s = make(sizeof *s, &plain);
  s->items = calloc(n, sizeof(object *)), s->size = n, s->stride = 3;
  for (uint32_t i = 0; i < n; ++i) s->items[i] = i % 5 == 4 ? 0 : leaf(i * 11);
  return s;
}
static struct node *new_nodes(int n) {
  struct node *first = 0;
  while (n-- > 0) {
    struct node *s = make(sizeof *s, &plain);
    s->next = first, s->value = leaf((unsigned)n * 7), first = s;
  }
  return first;
}
static struct node *new_tree(int depth, unsigned seed) {
  if (depth <= 0) return 0;
  struct node *s = make(sizeof *s, &plain);
  s->value = leaf(seed), s->left = new_tree(depth - 1, seed * 2 + 1), s->right = new_tree(depth - 1 - (int)(seed & 1), seed * 2 + 2);
  return s;
}

__attribute__((visibility("default"))) const struct shape *pygc_shapes(size_t *n);
const struct shape *pygc_shapes(size_t *n) {
  for (unsigned i = 0; i < 256; ++i) leaves[i].refcount = 1, leaves[i].type = &plain;
  add("fixed", fixed_traverse, new_fixed(1), 1);
  add("backwards", backwards_traverse, new_fixed(2), 1);
  struct inline_array *a = make(sizeof *a + 40 * sizeof(object *), &plain);
  a->size = 40;
  for (int i = 0; i < 40; ++i) a->items[i] = i % 7 ? leaf((unsigned)i) : 0;
  add("inline_array", inline_array_traverse, a, 1);
  add("heap_array", heap_array_traverse, new_heap_array(100), 1);
  add("heap_array_long", heap_array_traverse, new_heap_array(3000), 1);
  add("strided", strided_traverse, new_heap_array(50), 1);
  add("ring", ring_traverse, new_heap_array(31), 1);
  add("signed_ring", signed_ring_traverse, new_heap_array(13), 1);
  struct table *t = make(sizeof *t, &plain);
  t->mask = 31, t->rows = calloc(32, sizeof *t->rows);
  for (unsigned i = 0; i < 32; i += 3) t->rows[i] = (struct row){leaf(i), i, leaf(i + 1), 1};
  add("table", table_traverse, t, 1);
  add("list", list_traverse, new_nodes(60), 1);
  add("list_recursive", list_recursive_traverse, new_nodes(20), 1);
  add("tree", tree_traverse, new_tree(6, 1), 1);
  add("mutual", mutual_traverse, new_nodes(15), 1);
  for (int k = 0; k < 9; ++k) add("switch", switch_traverse, new_kind(k, &plain), 1);
  for (int k = 0; k < 4; ++k) add("goto", goto_traverse, new_kind(k, &plain), 1);
  add("bitmap", bitmap_traverse, new_kind(3, &plain), 1);
  add("bitfield", bitfield_traverse, new_kind(3, &plain), 1);
  add("signed_index", signed_index_traverse, new_kind(3, &plain), 1);
  for (int k = 2; k < 6; ++k) add("select", select_traverse, new_kind(k, &plain), 1);
  add("order", order_traverse, new_kind(1, &plain), 1);
  add("offsets", offsets_traverse, new_fixed(9), 1);
  add("vtable", vtable_traverse, new_kind(2, &with_methods), 1);
  add("tail_vtable", tail_vtable_traverse, new_kind(2, &with_methods), 1);
  add("wrapped_visit", wrapped_visit_traverse, new_fixed(7), 1);
  add("stack_arguments", stack_arguments_traverse, new_fixed(8), 1);
  struct kind *tagged = new_kind(0, &plain);
  for (int i = 0; i < 8; ++i) tagged->slots[i] = (object *)((uintptr_t)tagged->slots[i] | (i % 3 ? 3u : 1u));
  add("tagged", tagged_traverse, tagged, 1);
  struct kind *xored = new_kind(0, &plain);
  uintptr_t previous = 0x5a5a5a5a5a5a5a5a;
  for (int i = 0; i < 6; ++i) {
    uintptr_t v = (uintptr_t)leaf((unsigned)i * 9);
    xored->slots[i] = (object *)(v ^ previous), previous = v;
  }
  add("xor_list", xor_list_traverse, xored, 1);
  struct kind *mangled = new_kind(0, &plain);
  uintptr_t m = (uintptr_t)leaf(77) ^ 0x1234567890abcdefu;
  mangled->slots[0] = (object *)((m << 17) | (m >> 47)), mangled->slots[1] = (object *)__builtin_bswap64((uintptr_t)leaf(78));
  add("mangled", mangled_traverse, mangled, 1);
  struct relative *relative = make(sizeof *relative, &plain);
  for (int i = 0; i < 6; ++i) relative->offset[i] = (int32_t)((char *)leaf((unsigned)i * 13) - (char *)leaves);
  add("relative", relative_traverse, relative, 1);
  add("wide", wide_traverse, new_kind(4, &plain), 1);
  add("scratch", scratch_traverse, new_kind(1, &plain), 1);
  add("copied", copied_traverse, new_kind(2, &plain), 1);
  add("copied_part", copied_part_traverse, new_kind(5, &plain), 1);
  add("vla", vla_traverse, new_heap_array(23), 1);
  add("aligned", aligned_traverse, new_kind(6, &plain), 1);
  add("vector_or", vector_or_traverse, new_kind(6, &plain), 1);
  struct named *named = make(sizeof *named, &plain);
  named->name = "interesting", memcpy(named->key, "0123456789abcdefghijklm", 24), named->yes = leaf(5), named->no = leaf(6);
  add("named", named_traverse, named, 1);
  add("strings", strings_traverse, named, 1);
  add("counted", counted_traverse, new_fixed(20), 1);
  add("locked", locked_traverse, new_fixed(21), 1);
  add("thread", thread_traverse, new_fixed(22), 1);
  add("floating", floating_traverse, new_kind(7, &plain), 0);
  add("allocating", allocating_traverse, new_kind(8, &plain), 1);
  add("growing", growing_traverse, new_kind(8, &plain), 1);
  *n = count;
  int *touched = &thread_depth; /* else its block does not exist yet: the first use allocates, and the machine refuses that */
  OPAQUE(touched);
  *touched = 3;
  return shapes;
}
