// Standard input and output as the subcommands use them: whole texts, and errors instead of lost bytes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace cria::cli {

/// Writes to standard output at once. Errors (kIo): the reader is gone, the disk is full; with the system's reason.
Status write_output(std::string_view text);

/// Writes JSON, indented, with a line end. Bytes that are not UTF-8 (in the name of a file or device) become U+FFFD.
Status write_json(const Json& value);

/// All of standard input. Errors: kInvalidInput where it is longer than a text can be, kIo.
Result<std::string> read_input();

/// All of a file or named pipe. Errors: kNotFound, kInvalidInput where it is longer than a text can be, kIo.
Result<std::string> read_text_file(const std::filesystem::path& path);

}  // namespace cria::cli
