#include <algorithm>

#include "core/engine/command.h"

namespace pygc::engine {
namespace {

// Iterative match with one level of backtracking to the last star: linear in practice, quadratic at worst, no recursion on the pattern.
bool Match(std::string_view p, std::string_view s) {
  std::size_t i = 0, j = 0, star = std::string_view::npos, mark = 0;
  const auto one = [&](std::size_t at, char c) -> std::size_t {  // pattern position after a match of one character, or npos
    if (p[at] == '?') return at + 1;
    if (p[at] == '[') {
      const std::size_t end = p.find(']', at + 2);
      if (end != std::string_view::npos) {
        const bool negated = p[at + 1] == '!';
        bool in = false;
        for (std::size_t k = at + 1 + negated; k < end; ++k) {
          if (k + 2 < end && p[k + 1] == '-') {
            in = in || (c >= p[k] && c <= p[k + 2]);
            k += 2;
          } else {
            in = in || c == p[k];
          }
        }
        return in != negated ? end + 1 : std::string_view::npos;
      }
    }
    return p[at] == c ? at + 1 : std::string_view::npos;
  };
  while (j < s.size()) {
    if (i < p.size() && p[i] == '*') {
      star = i++;
      mark = j;
      continue;
    }
    const std::size_t next = i < p.size() ? one(i, s[j]) : std::string_view::npos;
    if (next != std::string_view::npos) {
      i = next;
      ++j;
    } else if (star != std::string_view::npos) {
      i = star + 1;
      j = ++mark;
    } else {
      return false;
    }
  }
  while (i < p.size() && p[i] == '*') ++i;
  return i == p.size();
}

}  // namespace

bool MatchesGlob(std::string_view pattern, std::string_view name) {
  if (Match(pattern, name)) return true;
  const std::size_t dot = pattern.find('.') == std::string_view::npos ? name.rfind('.') : std::string_view::npos;
  return dot != std::string_view::npos && Match(pattern, name.substr(dot + 1));
}

bool PassesFilters(const Request& request, const std::string& head, const std::vector<std::string>& types) {
  for (const std::string& glob : request.ignore_globs) {
    if (MatchesGlob(glob, head)) return false;
  }
  if (request.type_globs.empty()) return true;
  return std::any_of(request.type_globs.begin(), request.type_globs.end(), [&](const std::string& glob) {
    return MatchesGlob(glob, head) || std::any_of(types.begin(), types.end(), [&](const std::string& type) { return MatchesGlob(glob, type); });
  });
}

}  // namespace pygc::engine
