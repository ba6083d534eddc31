#include "e2e/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

extern char** environ;

namespace cria::e2e {
namespace {

struct Pipe {
  int read = -1, write = -1;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) ADD_FAILURE() << "no pipe: " << std::strerror(errno);
  return {ends[0], ends[1]};
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

std::vector<std::string> with_own_environment(const std::map<std::string, std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!more.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [name, value] : more) all.push_back(name + "=" + value);
  return all;
}

}  // namespace

Program::Program(const Launch& launch) : deadline_(std::chrono::steady_clock::now() + launch.limit) {
  std::signal(SIGPIPE, SIG_IGN);  // a child that does not read its input must not end the test
  std::vector<std::string> command = {CRIA_PROGRAM};
  command.insert(command.end(), launch.arguments.begin(), launch.arguments.end());
  unwritten_ = launch.input;
  start(command, launch.environment);
  if (launch.pipe_bytes != 0 && ::fcntl(out_.descriptor, F_SETPIPE_SZ, launch.pipe_bytes) < 0) {
    ADD_FAILURE() << "the pipe cannot be shrunk: " << std::strerror(errno);
  }
}

void Program::start(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment) {
  const Pipe in = make_pipe();
  const Pipe out = make_pipe();
  const Pipe err = make_pipe();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.read, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.write, STDERR_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);  // what is ignored here would be ignored there
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> arguments = command;
  std::vector<std::string> variables = with_own_environment(environment);
  const int error = ::posix_spawn(&child_, arguments[0].c_str(), &actions, &attributes, pointers(arguments).data(),
                                  pointers(variables).data());
  if (error != 0) ADD_FAILURE() << arguments[0] << " cannot be started: " << std::strerror(error);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  for (const int theirs : {in.read, out.write, err.write}) ::close(theirs);
  input_ = in.write;
  out_ = {out.read, &outcome_.out};
  err_ = {err.read, &outcome_.err};
  for (const int ours : {input_, out_.descriptor, err_.descriptor}) ::fcntl(ours, F_SETFL, O_NONBLOCK);
}

Program::~Program() {
  if (child_ > 0) {  // nobody waited
    send(SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  for (int* descriptor : {&input_, &out_.descriptor, &err_.descriptor}) close(*descriptor);
}

void Program::close(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

void Program::take(Stream& stream) {
  char piece[4096];
  const ssize_t count = ::read(stream.descriptor, piece, sizeof(piece));
  if (count > 0) stream.into->append(piece, static_cast<size_t>(count));
  if (count == 0) close(stream.descriptor);
}

void Program::feed() {
  const ssize_t count = ::write(input_, unwritten_.data(), unwritten_.size());
  if (count > 0) unwritten_.erase(0, static_cast<size_t>(count));
  const bool is_refused = count < 0 && errno != EAGAIN;
  if (unwritten_.empty() || is_refused) close(input_);
}

void Program::pump(size_t until_bytes) {
  while ((out_.descriptor >= 0 || err_.descriptor >= 0) && outcome_.out.size() <= until_bytes) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now());
    // Descriptors of -1 are passed over.
    std::array<pollfd, 3> waiting = {pollfd{input_, POLLOUT, 0}, pollfd{out_.descriptor, POLLIN, 0},
                                     pollfd{err_.descriptor, POLLIN, 0}};
    const int ready = left.count() > 0 ? ::poll(waiting.data(), waiting.size(), static_cast<int>(left.count())) : 0;
    if (ready == 0) {
      outcome_.timed_out = true;
      send(SIGKILL);
      return;
    }
    if (waiting[0].revents != 0) feed();
    if (waiting[1].revents != 0) take(out_);
    if (waiting[2].revents != 0) take(err_);
  }
}

bool Program::wait_for_output(size_t bytes) {
  pump(bytes);
  return outcome_.out.size() > bytes;
}

void Program::send(int signal) const {
  if (child_ > 0) ::kill(child_, signal);
}

void Program::close_output() { close(out_.descriptor); }

Outcome Program::wait() {
  pump(SIZE_MAX);
  int status = 0;
  if (child_ > 0 && ::waitpid(child_, &status, 0) == child_) {
    if (WIFEXITED(status)) outcome_.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome_.signal = WTERMSIG(status);
    child_ = -1;
  }
  EXPECT_FALSE(outcome_.timed_out) << "the time limit ended the program; it had printed: " << outcome_.err;
  return outcome_;
}

Outcome run(const Launch& launch) { return Program(launch).wait(); }

}  // namespace cria::e2e
