// A program that runs Python in threads that end, their stacks with them: what C code left there explains no count any more. Starts it in the first one, runs
// the script in the second one; then says READY and waits.
//
// usage: embedded LIBPYTHON SCRIPT [ARGUMENT]...     PYTHONHOME says where the library's modules are
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STACK (8u << 20)

static void (*initialize)(int), (*release)(int), *(*save_thread)(void);
static int (*ensure)(void), (*run)(const char *);
static char script[1 << 16];
static int failed;

static void *find(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(2);
  }
  return found;
}

static void *start(void *unused) {
  initialize(0);
  save_thread();
  return unused;
}

static void *work(void *unused) {
  int state = ensure();
  failed = run(script);
  release(state);
  return unused;
}

static void in_thread(void *(*what)(void *)) {
  void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  if (stack == MAP_FAILED || pthread_attr_setstack(&attributes, stack, STACK) || pthread_create(&thread, &attributes, what, NULL) || pthread_join(thread, NULL)) exit(2);
  munmap(stack, STACK);
}

int main(int argc, char **argv) {
  void *library = argc > 2 ? dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) : NULL;
  if (library == NULL) {
    fprintf(stderr, "%s\n", argc > 2 ? dlerror() : "usage: embedded LIBPYTHON SCRIPT [ARGUMENT]...");
    return 2;
  }
  initialize = (void (*)(int))find(library, "Py_InitializeEx");
  save_thread = (void *(*)(void))find(library, "PyEval_SaveThread");
  ensure = (int (*)(void))find(library, "PyGILState_Ensure");
  release = (void (*)(int))find(library, "PyGILState_Release");
  run = (int (*)(const char *))find(library, "PyRun_SimpleString");

  char *at = script + sprintf(script, "import sys\nsys.argv = [");
  for (int i = 2; i < argc && strlen(argv[i]) < 4096 && at < script + sizeof script / 2; ++i) at += sprintf(at, "'%s', ", argv[i]);
  sprintf(at, "]\nsys.path.insert(0, sys.argv[0].rpartition('/')[0])\nexec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'))\n");
  in_thread(start);
  in_thread(work);
  if (failed) return 1;
  printf("READY %d\n", (int)getpid());
  fflush(stdout);
  while (read(0, script, sizeof script) > 0) continue;
  return 0;
}
