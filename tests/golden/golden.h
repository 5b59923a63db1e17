// Compares text with a file of tests/golden/expected; PYGC_UPDATE_GOLDEN=1 writes the file instead.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace pygc::test {

inline void CheckGolden(const std::string& name, const std::string& actual) {
  const std::string path = std::string(PYGC_GOLDEN_DIR) + "/" + name;
  if (std::getenv("PYGC_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << actual;
    return;
  }
  std::ifstream in(path, std::ios::binary);
  std::stringstream expected;
  expected << in.rdbuf();
  INFO("golden file: ", name, " (PYGC_UPDATE_GOLDEN=1 rewrites it)");
  CHECK(actual == expected.str());
}

}  // namespace pygc::test
