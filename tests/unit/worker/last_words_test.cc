// What a dying worker says. The process that dies is a child of the test's.
#include "plugin/worker/last_words.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "core/base/object_in_hand.h"
#include "plugin/worker/protocol.h"

using pygc::worker::Channel;
using pygc::worker::MessageType;

namespace {

struct End {
  std::string said;   // in one kErr frame
  bool broken = false;
  int signal = 0;
};

End DieOf(const std::function<void(Channel&)>& death) {
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    for (const int number : {SIGABRT, SIGXCPU}) signal(number, SIG_DFL);  // doctest has handlers of its own
    Channel channel(ends[1]);
    pygc::worker::InstallLastWords(channel);
    death(channel);
    _exit(0);
  }
  close(ends[1]);
  Channel host(ends[0]);
  End end;
  const Channel::Received received = host.Receive(20000);
  if (received.status == Channel::Status::kFrame && received.frame.type == MessageType::kErr) end.said = TextOf(received.frame);
  end.broken = received.status == Channel::Status::kBroken;
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return end;
}

}  // namespace

TEST_CASE("last words: the object that was being read, and the signal as ever") {
  const End aborted = DieOf([](Channel&) {
    pygc::object_in_hand = 0x7f12345678a0;
    std::abort();
  });
  CHECK(aborted.said == "pygc: the worker was reading the object at 0x7f12345678a0\n");
  CHECK(aborted.signal == SIGABRT);
  const End stopped = DieOf([](Channel&) {
    pygc::object_in_hand = 0x10;
    raise(SIGXCPU);
  });
  CHECK(stopped.said == "pygc: the worker was reading the object at 0x10\n");
  CHECK(stopped.signal == SIGXCPU);
}

TEST_CASE("last words: none where no object was read yet") {
  const End end = DieOf([](Channel&) { std::abort(); });
  CHECK(end.said.empty());
  CHECK(end.signal == SIGABRT);
}

TEST_CASE("last words: after them no frame is begun") {
  const End end = DieOf([](Channel& channel) {
    channel.SendLastWords("last\n");
    alarm(1);
    (void)channel.Send(EncodeBytes(MessageType::kErr, "more"));
  });
  CHECK(end.said == "last\n");
  CHECK(end.signal == SIGALRM);
}
