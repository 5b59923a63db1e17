#include "core/base/parallel.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <thread>

namespace pygc {

TEST_CASE("both are done whatever the number of threads") {
  for (const unsigned threads : {1u, 2u, 8u}) {
    int here = 0, beside = 0;
    std::thread::id where;
    BesideEachOther(threads, [&] { here = 1; }, [&] {
      beside = 2;
      where = std::this_thread::get_id();
    });
    CHECK(here == 1);
    CHECK(beside == 2);
    CHECK((where == std::this_thread::get_id()) == (threads == 1));
  }
}

TEST_CASE("an exception of either arrives in the caller, when the other has ended") {
  for (const unsigned threads : {1u, 2u}) {
    bool ended = false;
    const auto fail = [] { throw std::runtime_error("no"); };
    CHECK_THROWS_AS(BesideEachOther(threads, [&] { ended = true; }, fail), std::runtime_error);
    CHECK(ended);
    CHECK_THROWS_AS(BesideEachOther(threads, fail, [] {}), std::runtime_error);
  }
}

TEST_CASE("each piece is worked on once, and an exception stops the rest") {
  for (const unsigned threads : {1u, 3u}) {
    std::vector<int> done(100);
    CHECK(ForEachPiece(done.size(), threads, [&](std::size_t piece, unsigned) { return ++done[piece] == 1; }, [](std::size_t) { return true; }));
    for (const int times : done) CHECK(times == 1);
    CHECK_FALSE(ForEachPiece(std::size_t{5}, threads, [](std::size_t piece, unsigned) { return piece != 2; }, [](std::size_t) { return true; }));
    const auto fail = [](std::size_t, unsigned) -> bool { throw std::runtime_error("no"); };
    CHECK_THROWS_AS(ForEachPiece(std::size_t{5}, threads, fail, [](std::size_t) { return true; }), std::runtime_error);
  }
}

}  // namespace pygc
