#include "plugin/lldb/expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace pygc::lldb_host {
namespace {

bool IsOneOf(std::string_view word, std::initializer_list<std::string_view> words) { return std::find(words.begin(), words.end(), word) != words.end(); }

// Options that the next word does not belong to.
bool TakesValue(std::string_view word) {
  return word.starts_with('-') && word.find('=') == std::string_view::npos &&
         !IsOneOf(word, {"-q", "--quiet", "-h", "--help", "--redact", "--show-values", "--audit", "--trust-file", "--resume", "--trust-anon-code"});
}

bool IsNameStart(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// What GetValueForVariablePath() understands; all else is left to the engine.
bool LooksLikePath(std::string_view word) {
  constexpr std::string_view kMore = "0123456789.->[]:";
  const std::size_t start = word.find_first_not_of("*&");
  if (start == std::string_view::npos || !IsNameStart(word[start])) return false;
  return std::all_of(word.begin() + static_cast<std::ptrdiff_t>(start), word.end(), [&](char c) { return IsNameStart(c) || kMore.find(c) != std::string_view::npos; });
}

std::optional<std::uint64_t> AddressOf(const std::string& word, lldb::SBFrame& frame) {
  lldb::SBValue value;
  if (word.starts_with('$')) {
    value = frame.FindRegister(word.c_str() + 1);
  } else if (LooksLikePath(word)) {
    value = frame.GetValueForVariablePath(word.c_str(), lldb::eNoDynamicValues);
  }
  if (!value.IsValid() || value.GetError().Fail()) return std::nullopt;
  const std::uint32_t kind = value.GetType().GetCanonicalType().GetTypeClass();
  if ((kind & (lldb::eTypeClassStruct | lldb::eTypeClassUnion | lldb::eTypeClassClass | lldb::eTypeClassArray)) != 0) {
    const lldb::addr_t at = value.GetLoadAddress();
    return at == LLDB_INVALID_ADDRESS ? std::nullopt : std::optional<std::uint64_t>(at);
  }
  lldb::SBError error;
  const std::uint64_t address = value.GetValueAsUnsigned(error, 0);
  return error.Success() ? std::optional(address) : std::nullopt;
}

}  // namespace

std::vector<std::string> WithAddresses(std::vector<std::string> words, lldb::SBFrame frame) {
  if (words.empty() || !frame.IsValid()) return words;
  const bool takes_types = IsOneOf(words[0], {"path", "why", "graph", "export"});
  if (!takes_types && !IsOneOf(words[0], {"show", "value", "referents", "referrers"})) return words;
  for (std::size_t i = words.size(); i-- > 1;) {  // from the end: the word before is as it was typed
    const std::string& word = words[i];
    const bool marked = word.starts_with('$') || word.starts_with('&') || word.find("->") != std::string::npos;
    if (TakesValue(words[i - 1]) || word.starts_with('-') || (takes_types && !marked)) continue;
    if (const std::optional<std::uint64_t> address = AddressOf(word, frame)) words[i] = fmt::format("{:#x}", *address);
  }
  return words;
}

}  // namespace pygc::lldb_host
