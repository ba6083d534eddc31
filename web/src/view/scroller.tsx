// What scrolls: it stays at the end while an answer grows, unless the reader has scrolled away.
import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { IconButton } from './icons';

const kNearPixels = 60;

export function Scroller({ follows, children }: { follows: unknown; children: ComponentChildren }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [isAtEnd, setAtEnd] = useState(true);
  const toEnd = () => {
    box.current!.scrollTop = box.current!.scrollHeight;
    setAtEnd(true);
  };
  useLayoutEffect(() => {
    if (isAtEnd) toEnd();
  }, [follows]);
  return (
    <div class="scroll-frame">
      <div
        class="scroll"
        ref={box}
        tabIndex={0}
        role="region"
        aria-label="Conversation"
        onScroll={({ currentTarget: at }) => setAtEnd(at.scrollHeight - at.scrollTop - at.clientHeight < kNearPixels)}
      >
        {children}
      </div>
      {!isAtEnd && (
        <div class="to-end">
          <IconButton icon="down" label="To the end" onClick={toEnd} />
        </div>
      )}
    </div>
  );
}
