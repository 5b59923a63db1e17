// What a host and its worker say to each other: typed messages and their bytes. Length-prefixed frames over one socket, little-endian, one machine.
// Pure functions, no input or output here (that is channel.h). Both sides treat the other as hostile: every length is checked against what is there,
// every count against a bound, and a frame that does not decode ends the connection.
//
//   host                                   worker
//    | kHello (magic, protocol, version) ->  |      the worker answers with its own and leaves when they differ
//    | <- kHello                             |
//    | kRequest ---------------------------> |
//    | <- kProgress, kOut, kErr ...          |      any number, any order
//    | <- kDescribe, kRead                   |      only where the host said that it can serve memory
//    | <- kCopied                            |      once, where the target is a process that the host holds: it may run again
//    | kRegions ..., kMemory --------------> |
//    | kCancel, kOutputClosed -------------> |      at any time while a request runs
//    | <- kDone (exit status)                |      then the next kRequest, or the socket closes
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/address.h"
#include "core/base/result.h"

namespace pygc::worker {

/// Raised with every change of a message. Hosts and workers of different numbers, or of different pygc versions, refuse each other.
inline constexpr std::uint32_t kProtocol = 2;

/// The version of this build, as in `pygc --version`.
[[nodiscard]] std::string_view BuildVersion();

/// Bounds on what is accepted from the other side. A message beyond one does not decode.
inline constexpr std::size_t kMaxFrameBytes = 8u << 20;        // payload of one frame
inline constexpr std::size_t kMaxReadBytes = 4u << 20;         // asked for in one kRead
inline constexpr std::size_t kMaxWords = 1u << 18;             // of one command line; more than exec() lets through: show and path take any number of addresses
inline constexpr std::size_t kMaxModuleFiles = 65536;          // candidates
inline constexpr std::size_t kMaxRegions = 1u << 22;           // over all kRegions frames of one answer; as many as a core may have program headers
inline constexpr std::size_t kMaxThreads = 65536;

enum class MessageType : std::uint32_t {
  kHello = 1,
  kRequest = 2,
  kCancel = 3,
  kOutputClosed = 4,
  kRegions = 5,
  kMemory = 6,
  kOut = 16,
  kErr = 17,
  kProgress = 18,
  kDescribe = 19,
  kRead = 20,
  kDone = 21,
  kCopied = 22,
};

/// One frame as it travels: u32 payload length, u32 type, payload.
struct Frame {
  MessageType type = MessageType::kDone;
  std::vector<std::byte> payload;
};
inline constexpr std::size_t kFrameHeaderBytes = 8;

/// First frame in both directions. Its bytes never change, so that builds of any two versions can tell each other apart.
struct Hello {
  std::uint32_t protocol = kProtocol;
  std::string version;  // PYGC_VERSION
};

/// Where the engine finds the process under study.
enum class TargetRoute : std::uint8_t {
  kNone,         // no target: the command line is still checked, --help still works
  kCommandLine,  // standalone: -c or -p in the words
  kCore,         // the worker opens `path` by itself
  kStoppedPid,   // a debugger of this machine holds `pid` stopped; the worker copies it by itself
  kServed,       // only the host can read it
  kLivePid,      // nobody holds `pid`: the worker interrupts and copies it by itself
  kCopy,         // what the worker copied last of this `pid` and `generation`, which has run on since
};

struct TargetDescription {
  TargetRoute route = TargetRoute::kNone;
  std::string path;            // of the core
  std::int32_t pid = 0;
  bool can_serve = false;      // the host answers kDescribe and kRead: the way out when the direct route fails
  std::uint64_t generation = 0;  // another number: the target has changed, what was built for it is dropped
  std::string why_none;        // kNone: one line that says so and what to do
  std::string executable;      // file here that the host takes for the main program; a candidate only
  std::vector<std::pair<std::string, std::string>> module_files;  // (name in the target, file here) that the host knows of; candidates only
};

/// One command line, who asks, and about what.
struct CommandRequest {
  std::vector<std::string> words;  // without the program's name
  bool standalone = false;         // target options are allowed
  std::string host = "standalone";
  std::string working_directory;
  std::uint32_t columns = 0;       // 0: not a terminal
  std::uint32_t rows = 0;          // 0: not known
  bool colour_terminal = false;
  TargetDescription target;
};

struct Progress {
  std::string stage;
  std::uint64_t done = 0, total = 0;
};

/// A region and a thread, as a host that serves memory knows them.
struct ServedRegion {
  AddressRange range;
  bool readable = false, writable = false, executable = false;
  std::string file;  // path as the target names it, or the kernel's name in brackets: [stack], [vvar]
  std::uint64_t file_offset = 0;
};
struct ServedThread {
  std::int32_t tid = 0;
  std::int32_t signal = 0;
  bool has_registers = false;
  std::array<std::uint64_t, 27> registers{};  // order of target::Thread
};

/// Answer to kDescribe, in as many frames as it takes; `last` marks the end. `error` (first frame, non-empty): it cannot be served.
struct ServedDescription {
  bool last = true;
  bool is_core = false;
  std::string path;
  std::int32_t pid = 0;
  std::string error;
  std::vector<ServedRegion> regions;
  std::vector<ServedThread> threads;
};

struct ReadRequest {
  std::uint64_t id = 0;
  Address address = 0;
  std::uint32_t size = 0;  // at most kMaxReadBytes
};

/// Bytes from `address` of the request on; fewer than asked for where the rest cannot be read. Never filled up.
struct MemoryReply {
  std::uint64_t id = 0;
  std::vector<std::byte> bytes;
};

[[nodiscard]] Frame Encode(const Hello& m);
[[nodiscard]] Frame Encode(const CommandRequest& m);
[[nodiscard]] Frame Encode(const Progress& m);
[[nodiscard]] Frame Encode(const ServedDescription& m);
[[nodiscard]] Frame Encode(const ReadRequest& m);
[[nodiscard]] Frame Encode(const MemoryReply& m);
[[nodiscard]] Frame EncodeDone(std::int32_t exit_status);
[[nodiscard]] Frame EncodeCopied(std::uint64_t microseconds);               // from the request until then
[[nodiscard]] Frame EncodeBytes(MessageType type, std::string_view bytes);  // kOut, kErr
[[nodiscard]] Frame EncodeEmpty(MessageType type);                          // kCancel, kOutputClosed, kDescribe

/// Splits a description into frames that each stay under kMaxFrameBytes.
[[nodiscard]] std::vector<Frame> EncodeInParts(const ServedDescription& whole);

/// Errors of every Decode: kCorrupt, naming the message.
[[nodiscard]] Result<Hello> DecodeHello(const Frame& frame);
[[nodiscard]] Result<CommandRequest> DecodeRequest(const Frame& frame);
[[nodiscard]] Result<Progress> DecodeProgress(const Frame& frame);
[[nodiscard]] Result<ServedDescription> DecodeDescription(const Frame& frame);
[[nodiscard]] Result<ReadRequest> DecodeRead(const Frame& frame);
[[nodiscard]] Result<MemoryReply> DecodeMemory(const Frame& frame);
[[nodiscard]] Result<std::int32_t> DecodeDone(const Frame& frame);
[[nodiscard]] Result<std::uint64_t> DecodeCopied(const Frame& frame);
[[nodiscard]] std::string_view TextOf(const Frame& frame);  // kOut, kErr

}  // namespace pygc::worker
