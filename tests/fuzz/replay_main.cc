// Stands in for libFuzzer where that is not to be had: replays files and folders, and inputs that are random or mutations of those files.
//
//   fuzz_NAME [--random N] [--seed S] [FILE|FOLDER]...
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

Input ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Input(std::istreambuf_iterator<char>(file), {});
}

void Collect(const std::filesystem::path& path, std::vector<Input>& out) {
  if (!std::filesystem::is_directory(path)) {
    out.push_back(ReadFile(path));
    return;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& f : files)
    if (std::filesystem::is_regular_file(f)) out.push_back(ReadFile(f));
}

Input Mutated(const std::vector<Input>& corpus, std::mt19937_64& random) {
  Input input;
  if (corpus.empty() || random() % 4 == 0) {
    input.resize(random() % 512);
    for (std::uint8_t& b : input) b = static_cast<std::uint8_t>(random());
    return input;
  }
  input = corpus[random() % corpus.size()];
  for (std::uint64_t n = 1 + random() % 8; n != 0 && !input.empty(); --n) {
    const std::size_t at = random() % input.size();
    switch (random() % 4) {
      case 0: input[at] = static_cast<std::uint8_t>(random()); break;
      case 1: input[at] ^= static_cast<std::uint8_t>(1u << (random() % 8)); break;
      case 2: input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random())); break;
      default: input.erase(input.begin() + static_cast<std::ptrdiff_t>(at)); break;
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t count = 0, seed = 1;
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--random") == 0 && i + 1 < argc) count = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = std::strtoull(argv[++i], nullptr, 10);
    else if (std::filesystem::exists(argv[i])) Collect(argv[i], corpus);
  }
  for (const Input& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::mt19937_64 random(seed);
  for (std::uint64_t k = 0; k < count; ++k) {
    const Input input = Mutated(corpus, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu files and %llu made inputs replayed\n", corpus.size(), static_cast<unsigned long long>(count));
  return 0;
}
