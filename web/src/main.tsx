import { render } from 'preact';
import { App } from './app';
import { Page } from './view/page';

const app = new App();
const root = document.getElementById('root')!;
root.replaceChildren(); // what stands there until now is for the first paint
render(<Page app={app} />, root);
void app.start();
