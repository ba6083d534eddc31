// How many bytes per second a kernel can read from a device's memory: what decoding is compared with.
#pragma once

#include "gpu/device.h"

namespace cria::engine {

struct Bandwidth {
  double bytes_per_second = 0;
  uint64_t buffer_bytes = 0;  ///< read again and again; far more than caches hold, where the device allows it
};

/// Reads a large buffer of random bits in several ways and takes the fastest (the median of its samples).
/// Takes about a second, and up to 1 GiB of the device's memory meanwhile.
/// Errors: kOutOfMemory where not even 16 MiB can be had; kDevice.
Result<Bandwidth> measure_read_bandwidth(gpu::Device& device);

/// Bytes per second at which a device copies from memory of the host, as layers that are streamed are: 64 MiB over and
/// over, the median of some samples. Errors: kOutOfMemory, kDevice.
Result<double> measure_link_bandwidth(gpu::Device& device);

}  // namespace cria::engine
