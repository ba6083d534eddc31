// Makes a driver for the CPU refuse memory, as a GPU does that is full.
#pragma once

#include <gtest/gtest.h>

#ifdef __linux__
#include <sys/resource.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "gpu/device.h"

namespace cria {

/// Memory can be kept from a driver for the CPU only, and lavapipe does not notice that it got none.
inline bool refuses_memory(const gpu::DeviceInfo& device) {
  return device.is_software() && device.name.find("llvmpipe") == std::string::npos;
}
inline constexpr const char* kNoRefusal = "this test needs SwiftShader (CRIA_VULKAN_DRIVER=swiftshader)";

/// Until the end of the scope this process gets at most `bytes` more of address space.
class MemoryLimit {
 public:
  explicit MemoryLimit(uint64_t bytes) {
    uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    EXPECT_EQ(::getrlimit(RLIMIT_AS, &before_), 0);
    struct rlimit tight = before_;
    tight.rlim_cur = pages * 4096 + bytes;
    EXPECT_EQ(::setrlimit(RLIMIT_AS, &tight), 0);
  }
  ~MemoryLimit() { ::setrlimit(RLIMIT_AS, &before_); }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  struct rlimit before_{};
};

}  // namespace cria
#endif
