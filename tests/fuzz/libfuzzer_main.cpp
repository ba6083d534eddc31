// Runs the one target that it is linked with under libFuzzer, which brings main().
#include <cstdint>

#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cria::fuzz::targets().front().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
