#include <doctest/doctest.h>

#include "core/engine/command.h"

using namespace pygc::engine;

TEST_CASE("globs match whole names; one without a dot also the last part") {
  CHECK(MatchesGlob("app.Node", "app.Node"));
  CHECK(MatchesGlob("Node", "app.tree.Node"));
  CHECK_FALSE(MatchesGlob("Node", "app.NodeList"));
  CHECK_FALSE(MatchesGlob("app", "app.Node"));
  CHECK(MatchesGlob("Sess*", "__main__.Session"));
  CHECK(MatchesGlob("N[o]d?", "app.tree.Node"));
  CHECK_FALSE(MatchesGlob("tree*", "app.tree.Node"));
  CHECK_FALSE(MatchesGlob("tree.N*", "app.tree.Node"));
  CHECK(MatchesGlob("app.*", "app.tree.Node"));
  CHECK(MatchesGlob("*Node", "app.tree.Node"));
  CHECK(MatchesGlob("*.t?ee.*", "app.tree.Node"));
  CHECK(MatchesGlob("d[ia]ct", "dict"));
  CHECK_FALSE(MatchesGlob("d[!ia]ct", "dict"));
  CHECK(MatchesGlob("[a-c]x", "bx"));
  CHECK_FALSE(MatchesGlob("[a-c]x", "dx"));
  CHECK(MatchesGlob("[", "["));
  CHECK(MatchesGlob("*", ""));
  CHECK_FALSE(MatchesGlob("", "x"));
  CHECK(MatchesGlob("a*b*c", "axxbxxbc"));
}

TEST_CASE("many stars do not explode") {
  std::string pattern, name(20000, 'a');
  for (int i = 0; i < 200; ++i) pattern += "*a";
  CHECK(MatchesGlob(pattern + "*", name));
  CHECK_FALSE(MatchesGlob(pattern + "b", name));
}

TEST_CASE("--ignore looks at the head, --type at every member") {
  Request r;
  CHECK(PassesFilters(r, "app.Node", {"dict"}));
  r.ignore_globs = {"dict"};
  CHECK(PassesFilters(r, "app.Node", {"dict"}));
  CHECK_FALSE(PassesFilters(r, "dict", {"app.Node"}));
  r.ignore_globs.clear();
  r.type_globs = {"dict", "x.*"};
  CHECK(PassesFilters(r, "app.Node", {"dict"}));
  CHECK_FALSE(PassesFilters(r, "app.Node", {"list"}));
}
