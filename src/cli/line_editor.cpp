#include "cli/line_editor.h"

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>

#include "base/platform.h"

#ifdef CRIA_HAS_LIBEDIT
#include <histedit.h>
#endif

namespace cria::cli {
namespace {
constexpr size_t kMaxLineBytes = 16 << 20;
}  // namespace

#ifdef CRIA_HAS_LIBEDIT
/// libedit's editor and history.
struct LineEditor::Impl {
  Impl() {
    std::setlocale(LC_CTYPE, "");  // for characters beyond ASCII
    editor = ::el_init("cria", stdin, stderr, stderr);
    history = ::history_init();
    HistEvent event;
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    ::el_set(editor, EL_CLIENTDATA, this);
    ::el_set(
        editor, EL_PROMPT, +[](EditLine* self) -> char* {
          Impl* impl = nullptr;
          ::el_get(self, EL_CLIENTDATA, &impl);
          return impl->prompt.data();
        });
    ::el_set(editor, EL_EDITOR, "emacs");
    ::el_set(editor, EL_HIST, ::history, history);
    ::el_source(editor, nullptr);
  }
  ~Impl() {
    ::history_end(history);
    ::el_end(editor);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Outcome read(std::string& line) {
    platform::clear_interrupts();
    platform::catch_interrupts(/*ends_reads=*/true);
    int count = 0;
    const char* text = ::el_gets(editor, &count);
    platform::catch_interrupts();
    const bool was_interrupted = platform::interrupted();
    platform::clear_interrupts();
    if (was_interrupted) {
      ::el_reset(editor);
      std::fputc('\n', stderr);
      return Outcome::kInterrupted;
    }
    if (text == nullptr || count <= 0) return Outcome::kEnd;
    line.assign(text, static_cast<size_t>(count));
    if (line.ends_with('\n')) line.pop_back();
    HistEvent event;
    if (!line.empty()) ::history(history, &event, H_ENTER, line.c_str());
    return Outcome::kLine;
  }

  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
};
#else
/// Without an editor the terminal's own is used.
struct LineEditor::Impl {
  Outcome read(std::string& line) {
    std::fputs(prompt.c_str(), stderr);
    char piece[4096];
    line.clear();
    while (std::fgets(piece, sizeof(piece), stdin) != nullptr) {
      line += piece;
      if (line.ends_with('\n')) {
        line.pop_back();
        return Outcome::kLine;
      }
    }
    return line.empty() ? Outcome::kEnd : Outcome::kLine;
  }
  std::string prompt;
};
#endif

LineEditor::LineEditor() : is_terminal_(platform::stdin_is_terminal()) {
  if (is_terminal_) impl_ = std::make_unique<Impl>();
}
LineEditor::~LineEditor() = default;

Result<LineEditor::Outcome> LineEditor::read(const std::string& prompt, std::string& line) {
  if (!is_terminal_) return read_pipe(line);
  impl_->prompt = prompt;
  return impl_->read(line);
}

Result<LineEditor::Outcome> LineEditor::read_pipe(std::string& line) {
  line.clear();
  errno = 0;
  for (int c = std::getc(stdin); c != '\n'; c = std::getc(stdin)) {
    if (c == EOF) {
      if (std::ferror(stdin) != 0) {
        return fail(ErrorCode::kIo, "standard input cannot be read: {}", std::strerror(errno));
      }
      return line.empty() ? Outcome::kEnd : Outcome::kLine;
    }
    line += static_cast<char>(c);
    if (line.size() > kMaxLineBytes) {
      return fail(ErrorCode::kInvalidInput, "a line of standard input is longer than {} bytes",
                  with_commas(kMaxLineBytes));
    }
  }
  if (line.ends_with('\r')) line.pop_back();
  return Outcome::kLine;
}

}  // namespace cria::cli
