// Failures on purpose, for tests: what drivers do seldom, at a moment of the test's choosing, on the paths that the
// real thing takes. Nothing but tests calls these; any thread may. A new call replaces what one before it asked for.
#pragma once

#include <cstdint>

namespace cria::gpu::faults {

/// From now on, whatever device it is: the `nth` submission of recorded work (from 1 on; 0: none) finds its device
/// lost.
void lose_device_at(uint32_t nth);

/// From now on: the `nth` buffer (from 1 on; 0: none) is refused as if there was no memory for it.
void refuse_buffer(uint32_t nth);

/// For gpu/: whether what was asked for is due now. Each call counts as a submission, or as a buffer.
[[nodiscard]] bool loses_device_now();
[[nodiscard]] bool refuses_buffer_now();

}  // namespace cria::gpu::faults
