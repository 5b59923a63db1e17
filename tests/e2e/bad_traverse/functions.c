/* tp_traverse functions that no collector could survive, and two that are right. Never called by the process that has them: pygc interprets them. */
#include <stdlib.h>

typedef int (*visitproc)(void *, void *);
typedef struct { long ob_refcnt; void *ob_type; void *a; } Object; /* __slots__ = ("a",) of a release build with a GIL */

volatile long writable_data[8] = {0x9090909090909090};
const char code_in_rodata[16] = {(char)0x31, (char)0xc0, (char)0xc3}; /* xor eax,eax; ret, in a section without code */

int right(Object *self, visitproc visit, void *arg) { return self->a ? visit(self->a, arg) : 0; }
int right_after_private(Object *self, visitproc visit, void *arg) {
  long scratch[4] = {0, (long)self->a, 0, 0};
  return scratch[1] ? visit((void *)scratch[1], arg) : 0;
}
int loops(Object *self, visitproc visit, void *arg) {
  (void)self, (void)visit, (void)arg;
  for (;;) __asm__ volatile("");
}
int visits_for_ever(Object *self, visitproc visit, void *arg) {
  for (;;) visit(self->a, arg);
}
__attribute__((noinline)) int recurses(Object *self, visitproc visit, void *arg) {
  volatile int deeper = recurses(self, visit, arg);
  return deeper + 1;
}
int visits_small_number(Object *self, visitproc visit, void *arg) { return self->a ? visit((void *)0x1234, arg) : 0; }
int visits_misaligned(Object *self, visitproc visit, void *arg) { return visit((char *)self->a + 1, arg); }
int visits_no_object(Object *self, visitproc visit, void *arg) { return self ? visit((void *)writable_data, arg) : 0; }
int visits_first_then_faults(Object *self, visitproc visit, void *arg) {
  visit(self->a, arg);
  return *(volatile int *)0x18;
}
int faults(Object *self, visitproc visit, void *arg) {
  (void)self, (void)visit, (void)arg;
  return *(volatile int *)0x18;
}
int calls_wild_pointer(Object *self, visitproc visit, void *arg) {
  (void)visit;
  return ((visitproc)0x414141414000)(self, arg);
}
int traps(Object *self, visitproc visit, void *arg) {
  (void)self, (void)visit, (void)arg;
  __builtin_trap();
}
int divides_by_zero(Object *self, visitproc visit, void *arg) {
  (void)visit, (void)arg;
  volatile long zero = 0;
  return (int)((long)self / zero);
}
int says_no(Object *self, visitproc visit, void *arg) {
  visit(self->a, arg);
  return 1;
}
int passes_another_argument(Object *self, visitproc visit, void *arg) {
  (void)arg;
  return visit(self->a, self);
}
int aborts(Object *self, visitproc visit, void *arg) {
  (void)self, (void)visit, (void)arg;
  abort();
}
int writes_text(Object *self, visitproc visit, void *arg) {
  (void)arg;
  *(volatile char *)(void *)right = 0;
  return visit ? (int)self->ob_refcnt : 0;
}
