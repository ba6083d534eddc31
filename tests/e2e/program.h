// Runs the built program `cria` as a child process, as a user would: arguments, standard input, environment,
// what it prints, its exit code, signals. A time limit ends a child that hangs.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "temporary_folder.h"

namespace cria::e2e {

/// How a child ended and what it printed.
struct Outcome {
  int exit_code = -1;  ///< -1 where a signal ended it
  int signal = 0;      ///< that signal
  bool timed_out = false;
  std::string out, err;
};

struct Launch {
  std::vector<std::string> arguments = {};
  std::string input = {};                               ///< what standard input, a pipe, gives before its end
  std::map<std::string, std::string> environment = {};  ///< added to the test's own
  int pipe_bytes = 0;                                   ///< shrinks the pipe of standard output; 0 leaves it
  std::chrono::seconds limit{150};
};

class Program {
 public:
  explicit Program(const Launch& launch);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Reads until standard output holds more than `bytes`; false where it ends before.
  bool wait_for_output(size_t bytes);
  /// What standard output and error have given so far.
  [[nodiscard]] const std::string& out() const { return outcome_.out; }
  [[nodiscard]] const std::string& err() const { return outcome_.err; }

  void send(int signal) const;
  /// Stops reading standard output, as `head` does when it has enough.
  void close_output();
  /// Reads the rest and waits for the end.
  Outcome wait();

 private:
  struct Stream {
    int descriptor = -1;
    std::string* into = nullptr;
  };

  void start(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment);
  /// Moves bytes until nothing is left to move or `until_bytes` of standard output are there.
  void pump(size_t until_bytes);
  void feed();
  static void take(Stream& stream);
  static void close(int& descriptor);

  pid_t child_ = -1;
  int input_ = -1;
  std::string unwritten_;
  Stream out_, err_;
  Outcome outcome_;
  std::chrono::steady_clock::time_point deadline_;
};

/// Runs to the end.
Outcome run(const Launch& launch);
inline Outcome run(const std::vector<std::string>& arguments) { return run(Launch{.arguments = arguments}); }

}  // namespace cria::e2e
