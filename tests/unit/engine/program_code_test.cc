#include "core/engine/program_code.h"

#include <doctest/doctest.h>

using namespace pygc::engine;

TEST_CASE("whose code a file is: the program's, a package's, the standard library's") {
  const std::string library = "/opt/python/lib/python3.12";
  CHECK(OriginOfFile("/srv/app/main.py", library) == CodeOrigin::kProgram);
  CHECK(OriginOfFile("<string>", library) == CodeOrigin::kProgram);
  CHECK(OriginOfFile(library + "/ctypes/__init__.py", library) == CodeOrigin::kStandardLibrary);
  CHECK(OriginOfFile("<frozen importlib._bootstrap>", library) == CodeOrigin::kStandardLibrary);
  CHECK(OriginOfFile(library + "/site-packages/requests/api.py", library) == CodeOrigin::kPackage);
  CHECK(OriginOfFile("/usr/lib/python3/dist-packages/gi/__init__.py", library) == CodeOrigin::kPackage);
  CHECK(OriginOfFile("/srv/venv/lib/python3.12/site-packages/x.py", library) == CodeOrigin::kPackage);
  CHECK(OriginOfFile("/opt/python/lib/python3.12x/x.py", library) == CodeOrigin::kProgram);
}

TEST_CASE("whose code a file is where the library's folder is not known: the usual names of it") {
  CHECK(OriginOfFile("/usr/lib/python2.7/ctypes/__init__.py", "") == CodeOrigin::kStandardLibrary);
  CHECK(OriginOfFile("/usr/lib64/python3.13t/json/decoder.py", "") == CodeOrigin::kStandardLibrary);
  CHECK(OriginOfFile("/usr/lib/python3/x.py", "") == CodeOrigin::kProgram);
  CHECK(OriginOfFile("/srv/python3.12/app.py", "") == CodeOrigin::kProgram);
  CHECK(OriginOfFile("/python", "") == CodeOrigin::kProgram);
  CHECK(OriginOfFile("", "") == CodeOrigin::kProgram);
}
