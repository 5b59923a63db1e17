// Messages survive the trip, and no prefix, suffix or flipped byte of one does more than fail to decode.
#include "plugin/worker/protocol.h"

#include <doctest/doctest.h>

#include <random>

using namespace pygc;
using namespace pygc::worker;

namespace {

CommandRequest SomeRequest() {
  CommandRequest m;
  m.words = {"leaks", "--type", "a*", std::string("\0\xff", 2), ""};
  m.standalone = true;
  m.host = "gdb";
  m.working_directory = "/w";
  m.columns = 132;
  m.rows = 43;
  m.colour_terminal = true;
  m.target = {TargetRoute::kStoppedPid, "/core", -5, true, 99, "none", "/exe", {{"libc.so.6", "/lib/libc.so.6"}, {"", ""}}};
  return m;
}

ServedDescription SomeDescription(std::size_t regions) {
  ServedDescription d;
  d.is_core = true;
  d.path = "/x.dmp";
  d.pid = 7;
  for (std::size_t i = 0; i < regions; ++i) d.regions.push_back({{i * 4096, i * 4096 + 4096}, true, i % 2 == 0, i % 3 == 0, std::string(i % 300, 'f'), i});
  d.threads.resize(3);
  d.threads[1].has_registers = true;
  d.threads[1].registers[26] = ~0ull;
  return d;
}

template <typename Decode>
void CheckDamage(const Frame& frame, Decode decode) {
  for (std::size_t n = 0; n < frame.payload.size(); ++n) {
    Frame cut = frame;
    cut.payload.resize(n);
    CHECK_FALSE(decode(cut).has_value());
  }
  Frame longer = frame;
  longer.payload.push_back(std::byte{0});
  CHECK_FALSE(decode(longer).has_value());
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    Frame flipped = frame;
    flipped.payload[random() % flipped.payload.size()] = static_cast<std::byte>(random());
    (void)decode(flipped);  // any answer will do; sanitizers watch
  }
}

}  // namespace

TEST_CASE("a request survives the trip, with any bytes in its words") {
  const CommandRequest m = SomeRequest();
  const auto back = DecodeRequest(Encode(m));
  REQUIRE(back);
  CHECK(back->words == m.words);
  CHECK(back->standalone);
  CHECK(back->host == "gdb");
  CHECK(back->working_directory == "/w");
  CHECK(back->columns == 132);
  CHECK(back->rows == 43);
  CHECK(back->colour_terminal);
  CHECK(back->target.route == TargetRoute::kStoppedPid);
  CHECK(back->target.path == "/core");
  CHECK(back->target.pid == -5);
  CHECK(back->target.can_serve);
  CHECK(back->target.generation == 99);
  CHECK(back->target.why_none == "none");
  CHECK(back->target.executable == "/exe");
  CHECK(back->target.module_files == m.target.module_files);
}

TEST_CASE("a long description is cut into frames of bounded size and put together again") {
  const ServedDescription whole = SomeDescription(100000);
  const std::vector<Frame> frames = EncodeInParts(whole);
  CHECK(frames.size() > 2);
  std::vector<ServedRegion> regions;
  std::size_t threads = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    CHECK(frames[i].payload.size() <= kMaxFrameBytes);
    const auto part = DecodeDescription(frames[i]);
    REQUIRE(part);
    CHECK(part->last == (i + 1 == frames.size()));
    regions.insert(regions.end(), part->regions.begin(), part->regions.end());
    threads += part->threads.size();
  }
  REQUIRE(regions.size() == whole.regions.size());
  CHECK(regions[99999].range == whole.regions[99999].range);
  CHECK(regions[99999].file == whole.regions[99999].file);
  CHECK(regions[6].executable);
  CHECK_FALSE(regions[1].writable);
  CHECK(threads == 3);
}

TEST_CASE("damaged messages fail to decode and nothing else") {
  CheckDamage(Encode(SomeRequest()), DecodeRequest);
  CheckDamage(Encode(SomeDescription(2)), DecodeDescription);
  CheckDamage(Encode(Progress{"stage", 1, 2}), DecodeProgress);
  CheckDamage(Encode(ReadRequest{1, 2, 3}), DecodeRead);
  CheckDamage(EncodeDone(130), DecodeDone);
  CheckDamage(EncodeCopied(84000), DecodeCopied);
}

TEST_CASE("a greeting of a later protocol is still understood") {
  Frame frame = Encode(Hello{7, "3.2.1"});
  frame.payload.resize(frame.payload.size() + 40);
  const auto hello = DecodeHello(frame);
  REQUIRE(hello);
  CHECK(hello->protocol == 7);
  CHECK(hello->version == "3.2.1");
  frame.payload[0] = std::byte{'P'};
  CHECK_FALSE(DecodeHello(frame));
}

TEST_CASE("counts and sizes beyond their bounds are refused") {
  CHECK_FALSE(DecodeRead(Encode(ReadRequest{1, 2, static_cast<std::uint32_t>(kMaxReadBytes + 1)})));
  CHECK(DecodeRead(Encode(ReadRequest{1, 2, static_cast<std::uint32_t>(kMaxReadBytes)})));
  CommandRequest many;
  many.words.resize(kMaxWords);
  CHECK(DecodeRequest(Encode(many)));
  many.words.resize(kMaxWords + 1);
  CHECK_FALSE(DecodeRequest(Encode(many)));
  CHECK_FALSE(DecodeDone(Encode(Progress{})));
}
