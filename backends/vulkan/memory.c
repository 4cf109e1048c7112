// Buffers, staging, submissions in order, waiting.
//
// One queue and one timeline: submission n signals n. Copies are recorded into a command buffer that the next submission
// takes with it, so that a training step's writes and its program are one submission.
#ifdef BRC_HAVE_VULKAN
#include "backends/vulkan/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Submissions that may be under way: drivers keep memory for each.
#define MOST_IN_FLIGHT 64

//------------------------ 1. Submissions, waiting -------------------------------
static brc_status create_timeline(vk_device *d) {
  const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                          .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
  VK_TRY(d, vkCreateSemaphore, d->handle, &info, NULL, &d->p->timeline);
  return BRC_OK;
}

// Wait for submission `value` and all before it; one that failed is none.
static brc_status wait_for(vk_device *d, uint64_t value) {
  struct vk_private *p = d->p;
  if (value > p->submitted) value = p->submitted;
  if (value <= p->done) return BRC_OK;
  const VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                    .semaphoreCount = 1,
                                    .pSemaphores = &p->timeline,
                                    .pValues = &value};
  VK_TRY(d, vkWaitSemaphores, d->handle, &info, UINT64_MAX);
  p->done = value;
  return BRC_OK;
}

// Is nothing under way? (Then mapped memory is the CPU's.)
static bool is_idle(vk_device *d) {
  struct vk_private *p = d->p;
  if (p->pending) return false;
  uint64_t value;
  if (p->done < p->submitted &&
      p->vk.vkGetSemaphoreCounterValue(d->handle, p->timeline, &value) == VK_SUCCESS && value > p->done)
    p->done = value;
  return p->done == p->submitted;
}

static void memory_barrier(vk_device *d, VkCommandBuffer commands, VkPipelineStageFlags from,
                           VkAccessFlags wrote, VkPipelineStageFlags to, VkAccessFlags touches) {
  const VkMemoryBarrier barrier = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = touches};
  d->p->vk.vkCmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

#define EVERYTHING       (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT)
#define EVERYTHING_WRITE (VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)
#define SHADER_ACCESS    (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT)
#define TRANSFER_ACCESS  (VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)

void vk_barrier(vk_device *d, VkCommandBuffer commands) {
  memory_barrier(d, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                 VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, SHADER_ACCESS);
}

static brc_status begin(vk_device *d, VkCommandBuffer commands, VkCommandBufferUsageFlags usage) {
  const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, .flags = usage};
  VK_TRY(d, vkBeginCommandBuffer, commands, &info);
  return BRC_OK;
}

static brc_status create_commands(vk_device *d, VkCommandBuffer *out) {
  const VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = d->p->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
  VK_TRY(d, vkAllocateCommandBuffers, d->handle, &info, out);
  return BRC_OK;
}

brc_status vk_commands_begin(vk_device *d, VkCommandBuffer *out) {
  brc_status st = create_commands(d, out);
  if (!st) st = begin(d, *out, VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT);
  if (!st)
    memory_barrier(d, *out, EVERYTHING, EVERYTHING_WRITE, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, SHADER_ACCESS);
  return st;
}

// What the CPU reads directly has to be made visible to it.
static void make_visible(vk_device *d, VkCommandBuffer commands) {
  memory_barrier(d, commands, EVERYTHING, EVERYTHING_WRITE, VK_PIPELINE_STAGE_HOST_BIT,
                 VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
}

brc_status vk_commands_end(vk_device *d, VkCommandBuffer commands) {
  if (d->p->maps) make_visible(d, commands);
  VK_TRY(d, vkEndCommandBuffer, commands);
  return BRC_OK;
}

static brc_status end_pending(vk_device *d, VkCommandBuffer *out) {
  struct vk_private *p = d->p;
  *out = p->transfers[p->transfer].commands;
  make_visible(d, *out);
  VK_TRY(d, vkEndCommandBuffer, *out);
  p->transfers[p->transfer].value = p->submitted + 1;
  p->pending = false;
  return BRC_OK;
}

brc_status vk_submit(vk_device *d, VkCommandBuffer commands, uint32_t times) {
  struct vk_private *p = d->p;
  VkCommandBuffer list[VK_MAX_TIMES + 1];
  uint32_t count = 0;
  if (p->pending) {
    brc_status st = end_pending(d, &list[count++]);
    if (st) return st;
  }
  for (uint32_t i = 0; i < times; i++) list[count++] = commands;
  if (!count) return BRC_OK;
  if (p->submitted >= p->done + MOST_IN_FLIGHT && !is_idle(d)) {
    brc_status st = wait_for(d, p->submitted + 1 - MOST_IN_FLIGHT);
    if (st) return st;
  }
  const uint64_t value = p->submitted + 1;
  const VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                  .signalSemaphoreValueCount = 1,
                                                  .pSignalSemaphoreValues = &value};
  const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                             .pNext = &timeline,
                             .commandBufferCount = count,
                             .pCommandBuffers = list,
                             .signalSemaphoreCount = 1,
                             .pSignalSemaphores = &p->timeline};
  VK_TRY(d, vkQueueSubmit, p->queue, 1, &info, VK_NULL_HANDLE);
  p->submitted = value;
  return BRC_OK;
}

brc_status vk_drain(vk_device *d) {
  // What was submitted before runs on even where this submission fails for want of memory.
  brc_status st = vk_submit(d, VK_NULL_HANDLE, 0), waited = wait_for(d, d->p->submitted);
  return st ? st : waited;
}

//------------------------ 2. Buffers ----------------------------------------------
// How much more the driver lets this process have in the largest device-local heap, where it tells; else 0.
static uint64_t budget(const vk_device *d) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT left = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                              .pNext = d->p->tells_budget ? &left : NULL};
  vk.vkGetPhysicalDeviceMemoryProperties2(d->physical, &memory);
  uint64_t size = 0, most = 0;
  for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
    const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
    if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || heap->size <= size) continue;
    size = heap->size;
    most = left.heapBudget[i] > left.heapUsage[i] ? left.heapBudget[i] - left.heapUsage[i] : 0;
  }
  return most;
}

static brc_status no_memory(const vk_device *d, const char *what, uint64_t bytes, const char *why) {
  char left[64] = "";
  if (d->p->tells_budget) snprintf(left, sizeof left, " (%.2f GB are free)", (double)budget(d) * 1e-9);
  return brc_fail(
      BRC_E_NOMEM,
      "Vulkan: %llu bytes (%.2f GB) for %s could not be allocated on '%s': %s; it has %.2f GB%s, and this "
      "process holds %.2f GB of it; a smaller --batch or --width needs less",
      (unsigned long long)bytes, (double)bytes * 1e-9, what, d->base.info.name, why,
      (double)d->base.info.memory_bytes * 1e-9, left, (double)d->p->held * 1e-9);
}

// The best memory type among `allowed`, or -1. For the device: local to it, in its largest heap; mapped only where that heap
// is the CPU's memory too, as a window onto a card (BAR) may be small, and reading through it is slow. For staging: what the
// CPU reads at full speed.
static int choose_type(const vk_device *d, uint32_t allowed, bool staging, VkMemoryPropertyFlags *flags) {
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.vkGetPhysicalDeviceMemoryProperties2(d->physical, &memory);
  const VkMemoryPropertyFlags visible =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const VkMemoryPropertyFlags known =
      visible | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  const bool shared = d->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  int best = -1;
  uint64_t best_score = 0;
  for (uint32_t i = 0; i < memory.memoryProperties.memoryTypeCount; i++) {
    const VkMemoryType *type = &memory.memoryProperties.memoryTypes[i];
    const VkMemoryPropertyFlags f = type->propertyFlags;
    if (!(allowed >> i & 1) || (f & ~known)) continue;
    const bool local = f & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, cached = f & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    if (staging ? (f & visible) != visible : !local) continue;
    // Staging: cached counts most, then not taking the device's own memory. Else: the heap's size, then mapping.
    const uint64_t megabytes = memory.memoryProperties.memoryHeaps[type->heapIndex].size >> 20;
    const bool maps = (f & visible) == visible && cached;
    const uint64_t score =
        staging ? 1u + 2u * cached + !local : 1 + 2 * megabytes + (shared ? maps : !(f & visible));
    if (score <= best_score) continue;
    best = (int)i;
    best_score = score;
    *flags = f;
  }
  return best;
}

static brc_status allocate(vk_device *d, const char *what, uint64_t bytes, bool staging, brc_buffer *out) {
  struct vk_private *p = d->p;
  const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                   .size = bytes,
                                   .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                            VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                            VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                                   .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
  VkResult code = p->vk.vkCreateBuffer(d->handle, &info, NULL, &out->handle);
  if (code != VK_SUCCESS) return no_memory(d, what, bytes, vk_result_text(code));
  VkMemoryRequirements needs;
  p->vk.vkGetBufferMemoryRequirements(d->handle, out->handle, &needs);
  VkMemoryPropertyFlags flags = 0;
  int type = choose_type(d, needs.memoryTypeBits, staging, &flags);
  if (type < 0) return no_memory(d, what, bytes, "no memory type for it");
  if (!staging && p->held + needs.size > d->base.info.memory_bytes)
    return no_memory(d, what, bytes, "more than there is");
  const VkMemoryAllocateFlagsInfo address = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
  const VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .pNext = &address,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = (uint32_t)type};
  code = p->vk.vkAllocateMemory(d->handle, &memory, NULL, &out->memory);
  if (code != VK_SUCCESS && needs.size > d->max_allocation)
    return no_memory(d, what, bytes, "more than its driver gives at once (maxMemoryAllocationSize)");
  if (code != VK_SUCCESS) return no_memory(d, what, bytes, vk_result_text(code));
  VK_TRY(d, vkBindBufferMemory, d->handle, out->handle, out->memory, 0);
  const VkBufferDeviceAddressInfo where = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                           .buffer = out->handle};
  out->address = p->vk.vkGetBufferDeviceAddress(d->handle, &where);
  out->bytes = needs.size;
  p->held += needs.size;
  const bool cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  const bool coherent = flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  if (staging || (cached && coherent && !vk_hidden("mapped")))
    VK_TRY(d, vkMapMemory, d->handle, out->memory, 0, VK_WHOLE_SIZE, 0, &out->mapped);
  return BRC_OK;
}

static void destroy(vk_device *d, brc_buffer *b) {
  struct vk_private *p = d->p;
  p->vk.vkDestroyBuffer(d->handle, b->handle, NULL);
  p->vk.vkFreeMemory(d->handle, b->memory, NULL);  // unmaps too
  p->held -= b->bytes;
  *b = (brc_buffer){0};
}

// The command buffer that copies are recorded into.
static brc_status pending(vk_device *d, VkCommandBuffer *out) {
  struct vk_private *p = d->p;
  if (!p->pending) {
    p->transfer = (p->transfer + 1) % VK_TRANSFERS;
    brc_status st = wait_for(d, p->transfers[p->transfer].value);
    if (!st) st = begin(d, p->transfers[p->transfer].commands, VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT);
    if (st) return st;
    p->pending = true;
    p->touched_count = 0;
    memory_barrier(d, p->transfers[p->transfer].commands, EVERYTHING, EVERYTHING_WRITE,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, TRANSFER_ACCESS);
  }
  *out = p->transfers[p->transfer].commands;
  return BRC_OK;
}

// Order the next pending copy behind those that touched the same buffers (`b` may be NULL).
static void touch(vk_device *d, VkCommandBuffer commands, const brc_buffer *a, const brc_buffer *b) {
  struct vk_private *p = d->p;
  bool again = p->touched_count + 2 > VK_TOUCHED;
  for (uint32_t i = 0; i < p->touched_count && !again; i++)
    again = p->touched[i] == a->handle || (b && p->touched[i] == b->handle);
  if (again) {
    memory_barrier(d, commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, TRANSFER_ACCESS);
    p->touched_count = 0;
  }
  p->touched[p->touched_count++] = a->handle;
  if (b) p->touched[p->touched_count++] = b->handle;
}

static brc_status fill_zero(vk_device *d, brc_buffer *b, uint64_t bytes) {
  if (b->mapped) {
    memset(b->mapped, 0, bytes);
    return BRC_OK;
  }
  VkCommandBuffer commands;
  brc_status st = pending(d, &commands);
  if (st) return st;
  touch(d, commands, b, NULL);
  d->p->vk.vkCmdFillBuffer(commands, b->handle, 0, bytes, 0);
  return BRC_OK;
}

brc_status vk_buffer_create(vk_device *d, const char *what, uint64_t elements, brc_buffer *out) {
  *out = (brc_buffer){.elements = elements};
  if (elements > UINT64_MAX >> 3)
    return brc_fail(BRC_E_VALUE, "Vulkan: %llu elements for %s", (unsigned long long)elements, what);
  const uint64_t bytes = (elements + BRC_BUFFER_SLACK) * 4;
  if (bytes > d->max_buffer)
    return brc_fail(
        BRC_E_NOMEM,
        "Vulkan: %s needs a buffer of %llu bytes (%.2f GB), and '%s' takes buffers of at most %.2f GB "
        "(maxBufferSize); a smaller --width or --batch needs less",
        what, (unsigned long long)bytes, (double)bytes * 1e-9, d->base.info.name, (double)d->max_buffer * 1e-9);
  brc_status st = allocate(d, what, bytes, false, out);
  if (!st) st = fill_zero(d, out, bytes);
  if (st) destroy(d, out);
  if (st) return st;
  out->counted = true;
  d->base.allocated += elements * 4;
  return BRC_OK;
}

void vk_buffer_destroy(vk_device *d, brc_buffer *b) {
  if (!b->handle) return;
  if (b->counted) d->base.allocated -= b->elements * 4;
  vk_drain(d);  // what is under way may still use it; where that fails, the device is lost and nothing is
  destroy(d, b);
}

//------------------------ 3. Copies -----------------------------------------------
// Take the next slot of the staging memory; what was recorded for the last one is submitted, so that the device begins.
static brc_status next_slot(vk_device *d) {
  struct vk_private *p = d->p;
  brc_status st = vk_submit(d, VK_NULL_HANDLE, 0);
  p->slot = (p->slot + 1) % VK_SLOTS;
  if (!st) st = wait_for(d, p->slots[p->slot].value);
  p->slots[p->slot].used = 0;
  return st;
}

// Room in the staging memory for `bytes` (at most a slot): where.
static brc_status stage(vk_device *d, uint64_t bytes, uint64_t *offset) {
  struct vk_private *p = d->p;
  if (p->slots[p->slot].used + bytes > VK_SLOT_BYTES) {
    brc_status st = next_slot(d);
    if (st) return st;
  }
  *offset = (uint64_t)p->slot * VK_SLOT_BYTES + p->slots[p->slot].used;
  p->slots[p->slot].used += BRC_ROUND_UP(bytes, 64);
  p->slots[p->slot].value = p->submitted + 1;  // what is pending goes with the next submission
  return BRC_OK;
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static brc_status write_piece(vk_device *d, brc_buffer *b, uint64_t offset, uint64_t bytes, const void *data) {
  uint64_t at;
  VkCommandBuffer commands;
  brc_status st = stage(d, bytes, &at);
  if (!st) st = pending(d, &commands);
  if (st) return st;
  memcpy((char *)d->p->staging.mapped + at, data, bytes);
  touch(d, commands, b, NULL);
  const VkBufferCopy region = {.srcOffset = at, .dstOffset = offset, .size = bytes};
  d->p->vk.vkCmdCopyBuffer(commands, d->p->staging.handle, b->handle, 1, &region);
  return BRC_OK;
}

brc_status vk_bytes_write(vk_device *d, brc_buffer *b, uint64_t offset, uint64_t bytes, const void *data) {
  if (b->mapped && is_idle(d)) {
    memcpy((char *)b->mapped + offset, data, bytes);
    return BRC_OK;
  }
  brc_status st = BRC_OK;
  for (uint64_t done = 0; done < bytes && !st;) {
    uint64_t n = smaller(bytes - done, VK_SLOT_BYTES);
    st = write_piece(d, b, offset + done, n, (const char *)data + done);
    done += n;
  }
  return st;
}

// Begin to read a piece (at most a slot) into the slot that follows.
static brc_status read_begin(vk_device *d, brc_buffer *b, uint64_t offset, uint64_t bytes) {
  uint64_t at;
  VkCommandBuffer commands;
  brc_status st = next_slot(d);
  if (!st) st = stage(d, bytes, &at);
  if (!st) st = pending(d, &commands);
  if (st) return st;
  touch(d, commands, b, NULL);
  const VkBufferCopy region = {.srcOffset = offset, .dstOffset = at, .size = bytes};
  d->p->vk.vkCmdCopyBuffer(commands, b->handle, d->p->staging.handle, 1, &region);
  return vk_submit(d, VK_NULL_HANDLE, 0);
}

brc_status vk_bytes_read(vk_device *d, brc_buffer *b, uint64_t offset, uint64_t bytes, void *data) {
  struct vk_private *p = d->p;
  if (b->mapped) {
    brc_status st = vk_drain(d);
    if (!st) memcpy(data, (const char *)b->mapped + offset, bytes);
    return st;
  }
  // As many pieces under way as there are slots, so that the device copies while we do.
  brc_status st = BRC_OK;
  uint32_t oldest = (p->slot + 1) % VK_SLOTS, under_way = 0;
  for (uint64_t begun = 0, done = 0; done < bytes && !st;) {
    if (begun < bytes && under_way < VK_SLOTS) {
      uint64_t n = smaller(bytes - begun, VK_SLOT_BYTES);
      st = read_begin(d, b, offset + begun, n);
      begun += n;
      under_way++;
    } else {
      uint64_t n = smaller(bytes - done, VK_SLOT_BYTES);
      st = wait_for(d, p->slots[oldest].value);
      if (!st)
        memcpy((char *)data + done, (const char *)p->staging.mapped + (uint64_t)oldest * VK_SLOT_BYTES, n);
      oldest = (oldest + 1) % VK_SLOTS;
      done += n;
      under_way--;
    }
  }
  return st;
}

brc_status vk_bytes_copy(vk_device *d, brc_buffer *dst, brc_buffer *src, uint64_t bytes) {
  VkCommandBuffer commands;
  brc_status st = pending(d, &commands);
  if (st) return st;
  touch(d, commands, dst, src);
  const VkBufferCopy region = {.size = bytes};
  d->p->vk.vkCmdCopyBuffer(commands, src->handle, dst->handle, 1, &region);
  return BRC_OK;
}

//------------------------ 4. Open, close --------------------------------------------
brc_status vk_memory_open(vk_device *d) {
  struct vk_private *p = d->p;
  const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                        .queueFamilyIndex = p->family};
  VK_TRY(d, vkCreateCommandPool, d->handle, &pool, NULL, &p->pool);
  brc_status st = create_timeline(d);
  for (uint32_t i = 0; i < VK_TRANSFERS && !st; i++) st = create_commands(d, &p->transfers[i].commands);
  if (!st) st = allocate(d, "staging", (uint64_t)VK_SLOTS * VK_SLOT_BYTES, true, &p->staging);
  if (st) return st;
  // Whether buffers are mapped follows from the first.
  brc_buffer first;
  st = vk_buffer_create(d, "a first buffer", 1, &first);
  if (st) return st;
  p->maps = first.mapped != NULL;
  vk_buffer_destroy(d, &first);
  return BRC_OK;
}

void vk_memory_close(vk_device *d) {
  struct vk_private *p = d->p;
  destroy(d, &p->staging);
  p->vk.vkDestroySemaphore(d->handle, p->timeline, NULL);
  p->vk.vkDestroyCommandPool(d->handle, p->pool, NULL);
}
#endif
